"""The steps of a run, each from the plan to rows of the sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from benchmarks.candidates.candidate import PROBE, Candidate, noise_picture
from benchmarks.candidates.engines import Opened, open_candidate
from benchmarks.candidates.planned_rows import Plan, protocol_of
from benchmarks.devices.device_facts import clocks_of
from benchmarks.devices.engine_parity import shipped_parity
from benchmarks.devices.power_meters import find_meter
from benchmarks.measure.conditions import snapshot
from benchmarks.measure.derive import machine_limits, predict, relative_times, share_of_limit, times_faster, with_delta
from benchmarks.measure.doubt import doubts
from benchmarks.measure.graph_cost import Layer, read_layers
from benchmarks.measure.latency import Timed, time_candidates
from benchmarks.measure.memory import measure_fresh
from benchmarks.measure.power import PowerLog
from benchmarks.measure.probes import PROBES
from benchmarks.measure.roofline import Ceilings, ceilings_of, measured_ceilings
from benchmarks.records.raw_samples import artifact_key, row_key, samples_path
from benchmarks.records.record import DOUBTFUL, FINISHED, Input, Limit, Runtime, StagesMs, Verdict
from benchmarks.records.run_records import Sheet
from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from targets import THIS_MACHINE

if TYPE_CHECKING:
    from benchmarks.measure.accuracy import Labels


def measure_memories(plan: Plan, sheet: Sheet) -> None:
    """Resident memory and load time, each candidate in processes of its own."""
    measured = [candidate for candidate in plan.candidates if candidate.kind != PROBE]
    for candidate in tqdm(measured, desc="memory", unit="file", leave=False):
        fresh = measure_fresh(candidate, plan.threads[0])
        sheet.change_all(candidate.name, load_ms=fresh.load_ms, memory_mb=fresh.memory_mb)
        if fresh.reason is not None:
            for field, value in (("load_ms", fresh.load_ms), ("memory_mb", fresh.memory_mb)):
                if value is None:
                    sheet.explain(candidate.name, field, fresh.reason)
        sheet.save()


def measure_accuracies(plan: Plan, sheet: Sheet, data: str, images: int, hand_model: Path | None) -> None:
    """Of every artefact on the first images of the data set's test split."""
    if images == 0:
        for candidate in plan.artifacts():
            sheet.explain(candidate.name, "accuracy", "not asked for (--images 0)")
            if candidate.files[0].endswith(".engine"):
                _check_engine(sheet, candidate)
        return
    # torch reads data sets; a device may have none
    from benchmarks.measure.accuracy import load_labels, measure_accuracy
    from training.data.dataset import open_frames

    hands = load_hand_models(hand_model)
    frames = open_frames(data, "test", hands, images)

    @cache
    def labels(crop_px: int) -> Labels:
        return load_labels(frames, crop_px, hands)

    for candidate in plan.artifacts():
        opened = _open(sheet, candidate, plan.threads[0])
        if opened is None or opened.runner is None:
            continue
        with opened.runner:
            accuracy, arrays = measure_accuracy(
                opened.runner, frames, hands, labels(opened.runner.input_px), candidate.name
            )
        sheet.change_all(candidate.name, accuracy=accuracy)
        sheet.keep_samples({artifact_key(candidate.name, what): array for what, array in arrays.items()})
        sheet.save()


def _check_engine(sheet: Sheet, candidate: Candidate) -> None:
    """Compare an engine with its ONNX file on the shipped crops; one that differs too much fails."""
    hand_model = None if candidate.hand_model is None else Path(candidate.hand_model)
    parity = shipped_parity(Path(candidate.files[0]), hand_model=hand_model)
    print(f"{candidate.name}: {parity.mean_mm:.4f} mm from onnxruntime on {parity.crops} shipped crops")
    if parity.reason is not None:
        sheet.fail(candidate.name, parity.reason)


def measure_latencies(plan: Plan, sheet: Sheet, threads: int) -> None:
    """Of all candidates that have a row at so many threads, in turn; then what speaks against the figures."""
    picture = noise_picture()
    start_c = snapshot().temperature_c
    meter = find_meter()
    power = None if meter is None else PowerLog(meter)
    if power is not None:
        power.measure_idle()
    with ExitStack() as stack:
        opened: dict[str, Opened] = {}
        candidates = {candidate.name: candidate for candidate in plan.timed_at(threads)}
        for candidate in tqdm(candidates.values(), desc=f"{threads} threads, opening", unit="file", leave=False):
            ready = _open(sheet, candidate, threads)
            if ready is not None:
                stack.callback(ready.close)
                opened[candidate.name] = ready
        timed = time_candidates(opened, plan.schedule, picture, power, f"{threads} threads")
        for name, result in timed.items():
            key = plan.key(candidates[name], threads)
            _keep(sheet, key, result, opened[name], plan)
            device = replace(sheet[key].device, temp_start_c=start_c, temp_end_c=snapshot().temperature_c)
            sheet.change(key, device=device)
    sheet.save()


def fill_in(plan: Plan, sheet: Sheet, threads: int) -> None:
    """What follows from the rows of one pass: ratios, shares of the limits, predictions, losses to fp32."""
    candidates = plan.timed_at(threads)
    rows = {candidate.name: sheet[plan.key(candidate, threads)] for candidate in candidates}
    limits = machine_limits(list(rows.values()))
    ceilings, unknown = _ceilings(plan, threads, limits)
    for candidate in candidates:
        row = rows[candidate.name]
        if candidate.kind == PROBE:
            sheet.change(row.key, limit=limits.get(row.name))
            continue
        baseline = rows.get(plan.baseline(candidate) or "")
        others = [other for name, other in rows.items() if name not in PROBES]
        row = replace(
            with_delta(row, baseline),
            times_faster=times_faster(row, baseline),
            relative_time=relative_times(row, others),
            limit=share_of_limit(row, limits),
        )
        reasons = dict(row.not_measured)
        if baseline is None:
            reasons["times_faster"] = "the fp32 file of the same network is not among the rows: see --peers fp32"
        layers = _layers(candidate)
        if isinstance(layers, str):
            reasons["predictions"] = layers
        else:
            row = replace(row, predictions=predict(row, layers, ceilings, THIS_MACHINE))
            if unknown:
                reasons["predictions"] = "; ".join(unknown)
        if row.limit is None:
            reasons["limit"] = "no probe was timed, or the products of the row are not known"
        sheet.change(row.key, **{**vars(row), "not_measured": reasons})
    sheet.save()


def _open(sheet: Sheet, candidate: Candidate, threads: int) -> Opened | None:
    """The candidate, or None and a failed row: one bad peer must not end the run."""
    if not sheet.alive(candidate.name):
        return None
    try:
        return open_candidate(candidate, threads, noise_picture())
    except UserError as error:
        sheet.fail(candidate.name, str(error))
    except Exception as error:  # engines have no class of errors in common
        lines = str(error).strip().splitlines() or [""]
        sheet.fail(candidate.name, f"{type(error).__name__}: {lines[0][:200]}")
    return None


def _keep(sheet: Sheet, key: tuple[str, int | None], timed: Timed, opened: Opened, plan: Plan) -> None:
    """One candidate's figures into its row."""
    row = sheet[key]
    runtime = Runtime(
        opened.runtime, opened.version, opened.provider_requested, opened.provider_used, row.runtime.threads
    )
    reasons = doubts(timed.latency, timed.conditions, runtime)
    stages = None
    if timed.stages_ms is not None:
        stages = StagesMs(*(float(value) for value in np.median(timed.stages_ms, axis=0)))
        sheet.keep_samples({row_key(*key, "stages_ms"): timed.stages_ms})
    runs = np.concatenate(timed.blocks)
    block = np.repeat(np.arange(len(timed.blocks)), [len(part) for part in timed.blocks])
    sheet.keep_samples({row_key(*key, "runs_ms"): runs.astype(np.float32), row_key(*key, "block"): block.astype("u2")})
    not_measured = dict(row.not_measured)
    if timed.power is None:
        not_measured["power_w"] = not_measured["energy_mj_per_frame"] = "no power sensor that can be read"
    sheet.change(
        key,
        input=Input(list(opened.input_shape), opened.input_shape[0]),
        runtime=runtime,
        device=replace(row.device, clocks=clocks_of(timed.conditions)),
        protocol=protocol_of(plan.schedule, len(runs)),
        latency_ms=timed.latency,
        stages_ms=stages,
        power_w=timed.power,
        energy_mj_per_frame=None if timed.power is None else timed.power.mean * timed.latency.p50,
        samples=samples_path(sheet.path).name,
        not_measured=not_measured,
        verdict=Verdict(DOUBTFUL if reasons else FINISHED, reasons),
    )


def _ceilings(plan: Plan, threads: int, limits: Mapping[str, Limit]) -> tuple[list[Ceilings], list[str]]:
    """Of every target; and why some have none."""
    found: list[Ceilings] = []
    unknown: list[str] = []
    for target in plan.targets:
        ceilings: Ceilings | str
        if target.name != THIS_MACHINE:
            ceilings = ceilings_of(target)
        elif len(limits) == len(PROBES):
            ceilings = measured_ceilings(limits, THIS_MACHINE, threads)
        else:
            ceilings = "a probe of this machine failed"
        if isinstance(ceilings, str):
            unknown.append(ceilings)
        else:
            found.append(ceilings)
    return found, unknown


@cache
def _layers(candidate: Candidate) -> Mapping[bool, Sequence[Layer]] | str:
    """Of the candidate's ONNX files, by what engines fuse; or why there are none."""
    if not all(file.endswith(".onnx") for file in candidate.files):
        return "an engine file does not show its graph"
    try:
        return {
            fuses: [layer for file in candidate.files for layer in read_layers(Path(file), fuses)]
            for fuses in (False, True)
        }
    except UserError as error:
        return str(error)
