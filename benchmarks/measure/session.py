"""The steps of a run, each from the plan to rows of the sheet."""

from __future__ import annotations

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
from benchmarks.measure.derive import derived
from benchmarks.measure.doubt import doubts
from benchmarks.measure.latency import Timed, time_candidates
from benchmarks.measure.memory import measure_fresh
from benchmarks.measure.power import PowerLog
from benchmarks.measure.stats import summarise
from benchmarks.records.raw_samples import Arrays, artifact_key, row_key, samples_path
from benchmarks.records.record import DOUBTFUL, FINISHED, Input, Record, Runtime, StagesMs, Verdict
from benchmarks.records.run_records import Sheet
from runtime.errors import UserError, first_line
from runtime.hand.hand_model import load_hand_models

if TYPE_CHECKING:
    from benchmarks.measure.accuracy import Labels

NO_METER = "no power sensor that can be read"


def measure_memories(plan: Plan, sheet: Sheet) -> None:
    """Measure resident memory and load time, each candidate in processes of its own."""
    measured = [candidate for candidate in plan.candidates if candidate.kind != PROBE]
    for candidate in tqdm(measured, desc="memory", unit="file", leave=False):
        fresh = measure_fresh(candidate, plan.threads[0])
        sheet.change_all(candidate.name, load_ms=fresh.load_ms, memory_mb=fresh.memory_mb)
        for field, value in (("load_ms", fresh.load_ms), ("memory_mb", fresh.memory_mb)):
            if value is None:
                sheet.explain(candidate.name, field, fresh.reason or "")
        sheet.save()


def measure_accuracies(plan: Plan, sheet: Sheet, data: str, images: int, hand_model: Path | None) -> None:
    """Measure every artefact on the first images of the data set's test split."""
    if images == 0:
        for candidate in plan.artifacts:
            sheet.explain(candidate.name, "accuracy", "not asked for (--images 0)")
            if candidate.path.suffix == ".engine":
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

    for candidate in plan.artifacts:
        opened = _open(sheet, candidate, plan.threads[0])
        if opened is None or opened.runner is None:
            continue
        with opened.runner as runner:
            accuracy, arrays = measure_accuracy(runner, frames, hands, labels(runner.input_px), candidate.name)
        sheet.change_all(candidate.name, accuracy=accuracy)
        sheet.keep_samples({artifact_key(candidate.name, what): array for what, array in arrays.items()})
        sheet.save()


def _check_engine(sheet: Sheet, candidate: Candidate) -> None:
    """Compare an engine with its ONNX file on the shipped crops; one that differs too much fails."""
    hand_model = None if candidate.hand_model is None else Path(candidate.hand_model)
    parity = shipped_parity(candidate.path, hand_model=hand_model)
    print(f"{candidate.name}: {parity.mean_mm:.4f} mm from onnxruntime on {parity.crops} shipped crops")
    if parity.reason is not None:
        sheet.fail(candidate.name, parity.reason)


def measure_latencies(plan: Plan, sheet: Sheet, threads: int) -> None:
    """Time all candidates that have a row at so many threads, in turn; then say what speaks against the figures."""
    candidates = {candidate.name: candidate for candidate in plan.timed_at(threads)}
    start_c = snapshot().temperature_c
    meter = find_meter()
    power = None if meter is None else PowerLog(meter)
    if power is not None:
        power.measure_idle()
    with ExitStack() as stack:
        opened: dict[str, Opened] = {}
        for candidate in tqdm(candidates.values(), desc=f"{threads} threads, opening", unit="file", leave=False):
            ready = _open(sheet, candidate, threads)
            if ready is not None:
                stack.callback(ready.close)
                opened[candidate.name] = ready
        timed = time_candidates(opened, plan.schedule, power, f"{threads} threads")
    end_c = snapshot().temperature_c
    for name, result in timed.items():
        row = timed_row(sheet[plan.key(candidates[name], threads)], result, opened[name], plan)
        device = replace(row.device, temp_start_c=start_c, temp_end_c=end_c)
        sheet.put(replace(row, device=device, samples=samples_path(sheet.path).name))
        sheet.keep_samples(run_samples(row, result))
    sheet.save()


def fill_in(plan: Plan, sheet: Sheet, threads: int) -> None:
    """Fill in what follows from the rows of one pass: ratios, shares of the limits, losses to fp32."""
    candidates = plan.timed_at(threads)
    rows = [sheet[plan.key(candidate, threads)] for candidate in candidates]
    for row in derived(rows, {candidate.name: plan.baseline(candidate) for candidate in candidates}):
        sheet.put(row)
    sheet.save()


def _open(sheet: Sheet, candidate: Candidate, threads: int) -> Opened | None:
    """Open a candidate; None and a failed row where it does not: one bad peer must not end the run."""
    if not sheet.alive(candidate.name):
        return None
    try:
        return open_candidate(candidate, threads, noise_picture())
    except UserError as error:
        sheet.fail(candidate.name, str(error))
    except Exception as error:  # engines have no class of errors in common
        sheet.fail(candidate.name, f"{type(error).__name__}: {first_line(error)}")
    return None


def timed_row(row: Record, timed: Timed, opened: Opened, plan: Plan) -> Record:
    """Return the row with one candidate's figures."""
    runtime = Runtime(
        opened.runtime, opened.version, opened.provider_requested, opened.provider_used, row.runtime.threads
    )
    latency = summarise(timed.blocks)
    reasons = doubts(latency, timed.conditions, runtime)
    stages, power = timed.stages_ms, timed.power
    no_power = dict.fromkeys(("power_w", "energy_mj_per_frame"), NO_METER) if power is None else {}
    return replace(
        row,
        input=Input(list(opened.input_shape), opened.input_shape[0]),
        runtime=runtime,
        device=replace(row.device, clocks=clocks_of(timed.conditions)),
        protocol=protocol_of(plan.schedule, sum(map(len, timed.blocks))),
        latency_ms=latency,
        stages_ms=None if stages is None else StagesMs(*np.median(stages, axis=0).tolist()),
        power_w=power,
        energy_mj_per_frame=None if power is None else power.mean * latency.p50,
        not_measured={**row.not_measured, **no_power},
        verdict=Verdict(DOUBTFUL if reasons else FINISHED, reasons),
    )


def run_samples(row: Record, timed: Timed) -> Arrays:
    """Return the raw samples of one row (benchmarks.records.raw_samples)."""
    block = np.repeat(np.arange(len(timed.blocks)), [len(part) for part in timed.blocks])
    samples: Arrays = {"runs_ms": np.concatenate(timed.blocks).astype(np.float32), "block": block.astype(np.uint16)}
    if timed.stages_ms is not None:
        samples["stages_ms"] = timed.stages_ms
    return {row_key(*row.key, what): array for what, array in samples.items()}
