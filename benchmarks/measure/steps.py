"""The steps of a run, each from the plan to rows of the sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.candidates.candidate import Candidate
from benchmarks.candidates.engines import Opened, open_candidate
from benchmarks.candidates.planned_rows import Plan, protocol_of
from benchmarks.devices.device_facts import hottest_c
from benchmarks.devices.shipped_crops import parity_problem, shipped_distance_mm
from benchmarks.measure.doubt import doubts
from benchmarks.measure.latency import Timed, time_candidates
from benchmarks.measure.memory import measure_fresh
from benchmarks.measure.stats import ratio, summarise
from benchmarks.records.columns import mpjpe_mm
from benchmarks.records.record import DOUBTFUL, FINISHED, Input, Ratio, Record, Runtime, StagesMs, Verdict
from benchmarks.records.run_records import Sheet
from runtime.errors import UserError, first_line
from runtime.hand.hand_model import load_hand_models

NO_BASELINE = "the fp32 file of the same network is not among the rows"


def measure_memories(plan: Plan, sheet: Sheet) -> None:
    """Measure resident memory and load time, each candidate in processes of its own."""
    for candidate in tqdm(plan.candidates, desc="memory", unit="file", leave=False):
        load_ms, memory_mb, reason = measure_fresh(candidate, plan.threads[0])
        figures = {"load_ms": load_ms, "memory_mb": memory_mb}
        reasons = {field: reason for field, figure in figures.items() if figure is None}
        sheet.change(candidate.name, reasons, **figures)
        sheet.save()


def measure_accuracies(
    plan: Plan, sheet: Sheet, data: str, images: int, hand_model: Path | None, pictures: Sequence[str] = ()
) -> None:
    """Measure every artefact on the first images of the data sets' test splits: in mm on `data`, in the picture on all.

    Images of `pictures` whose files are missing are left out.
    """
    if images == 0:
        for candidate in plan.artifacts:
            sheet.change(candidate.name, {"accuracy": "not asked for (--images 0)"})
            if candidate.path.suffix == ".engine":
                mean_mm = shipped_distance_mm(candidate.path, hand_model)
                print(f"{candidate.name}: {mean_mm:.4f} mm from onnxruntime on the shipped crops")
                if problem := parity_problem(candidate.precision or "", mean_mm):
                    sheet.fail(candidate.name, problem)
        sheet.save()
        return
    # torch reads data sets; a device may have none
    from benchmarks.measure.accuracy import measure_accuracy
    from compress.check.scoring import load_labelled_crops
    from training.data.dataset import open_frames
    from training.data.frames import drop_missing

    hands = load_hand_models(hand_model)
    sets = [open_frames(data, "test", hands, images)]
    sets += [drop_missing(open_frames(place, "test", hands, images))[0] for place in pictures]
    crops = cache(lambda place, crop_px: load_labelled_crops(sets[place], crop_px, hands))
    reason = {} if sets[0].has_3d else {"accuracy": f"{sets[0].name} has 2D joints alone"}
    for candidate in plan.artifacts:
        opened = _open(sheet, candidate, max(plan.threads))  # nothing is timed here
        if opened is None or opened.runner is None:
            continue
        with opened.runner as runner:
            found = [
                measure_accuracy(runner, crops(place, runner.input_px), candidate.name) for place in range(len(sets))
            ]
        points = [figures for _, of_set in found for figures in of_set]
        sheet.change(candidate.name, reason, accuracy=found[0][0], points=points)
        sheet.save()


def measure_latencies(plan: Plan, sheet: Sheet, threads: int) -> None:
    """Time all candidates that have a row at so many threads, in turn; then say what speaks against the figures."""
    candidates = {candidate.name: candidate for candidate in plan.timed_at(threads)}
    start_c = hottest_c()
    with ExitStack() as stack:
        opened: dict[str, Opened] = {}
        for candidate in tqdm(candidates.values(), desc=f"{threads} threads, opening", unit="file", leave=False):
            ready = _open(sheet, candidate, threads)
            if ready is not None:
                stack.callback(ready.close)
                opened[candidate.name] = ready
        timed = time_candidates(opened, plan.schedule, f"{threads} threads")
    end_c = hottest_c()
    for name, result in timed.items():
        row = sheet[plan.key(candidates[name], threads)]
        row = replace(row, device=replace(row.device, temp_start_c=start_c, temp_end_c=end_c))
        sheet.put(timed_row(row, result, opened[name], plan))
    rows = [sheet[plan.key(candidate, threads)] for candidate in candidates.values()]
    for row in derived(rows, {name: plan.baseline(candidate) for name, candidate in candidates.items()}):
        sheet.put(row)
    sheet.save()


def derived(rows: Sequence[Record], baselines: Mapping[str, str | None]) -> list[Record]:
    """Return the rows, timed in turn with each other, with all that follows from them.

    baselines: the name of each row's fp32 file, None where it is not among the rows.
    """
    found = []
    for row in rows:
        others = {other.name: other for other in rows if other is not row}
        ratios = {name: time_ratio(row, other) for name, other in others.items()}
        baseline = others.get(baselines[row.name] or "")
        accuracy, own, other = row.accuracy, mpjpe_mm(row), mpjpe_mm(row if baseline is None else baseline)
        if accuracy and own is not None and other is not None and baselines[row.name]:
            accuracy = replace(accuracy, delta_vs_fp32_mm=own - other)  # one run measures all on the same images
        reasons = {} if baselines[row.name] else {"times_faster": NO_BASELINE}
        found.append(
            replace(
                row,
                accuracy=accuracy,
                times_faster=None if baseline is None else time_ratio(baseline, row),
                relative_time={name: value for name, value in ratios.items() if value is not None},
                not_measured=row.not_measured | reasons,
            )
        )
    return found


def time_ratio(row: Record, other: Record) -> Ratio | None:
    """Divide a row's time by that of another row of the same rounds; None where one was not timed."""
    if row.latency_ms is None or other.latency_ms is None:
        return None
    return ratio(np.array(row.latency_ms.blocks_p50), np.array(other.latency_ms.blocks_p50))


def _open(sheet: Sheet, candidate: Candidate, threads: int) -> Opened | None:
    """Open a candidate; None and a failed row where it does not: one bad peer must not end the run."""
    if not sheet.alive(candidate.name):
        return None
    try:
        return open_candidate(candidate, threads)
    except UserError as error:
        sheet.fail(candidate.name, str(error))
    except Exception as error:  # engines have no class of errors in common
        sheet.fail(candidate.name, f"{type(error).__name__}: {first_line(error)}")
    return None


def timed_row(row: Record, timed: Timed, opened: Opened, plan: Plan) -> Record:
    """Return the row with one candidate's figures."""
    asked, used = opened.provider_requested, opened.provider_used
    runtime = Runtime(opened.runtime, opened.version, asked, used, row.runtime.threads)
    mhz = [block.cpu_mhz for block in timed.conditions if block.cpu_mhz]
    device = replace(row.device, cpu_mhz=[min(mhz), max(mhz)] if mhz else [])
    latency = summarise(timed.blocks)
    reasons = doubts(latency, timed.conditions, runtime, device)
    stages = timed.stages_ms
    return replace(
        row,
        input=Input(list(opened.input_shape), opened.input_shape[0]),
        runtime=runtime,
        device=device,
        protocol=protocol_of(plan.schedule, sum(map(len, timed.blocks))),
        latency_ms=latency,
        stages_ms=None if stages is None else StagesMs(*np.median(stages, axis=0).tolist()),
        verdict=Verdict(DOUBTFUL if reasons else FINISHED, reasons),
    )
