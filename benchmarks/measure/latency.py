"""Times opened candidates in turn (compress.check.timing), with what else went on, and the stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.candidates.candidate import BOX, noise_picture
from benchmarks.candidates.engines import Opened
from benchmarks.measure.doubt import Conditions, watched
from compress.check.timing import Milliseconds, Schedule, time_blocks
from runtime.runner import Runner

SCHEDULE = Schedule(rounds=10, block_seconds=3.0, block_runs=200, warmup_seconds=1.0)
STAGE_RUNS = 40  # of a block of whole calls


@dataclass(frozen=True)
class Timed:
    """Of one candidate."""

    blocks: list[Milliseconds]
    conditions: list[Conditions]  # of each block
    stages_ms: NDArray[np.float32] | None  # (calls, 3) pre, infer, post; None: no artefact


def time_candidates(opened: Mapping[str, Opened], schedule: Schedule, label: str) -> dict[str, Timed]:
    """Time blocks of all candidates in turn: the networks alone, then whole calls of those that are runners."""
    conditions: dict[str, list[Conditions]] = {name: [] for name in opened}
    runs = {name: one.run for name, one in opened.items()}
    blocks = time_blocks(runs, schedule, lambda name: watched(conditions[name]), label)
    stages = time_stages({name: one.runner for name, one in opened.items() if one.runner}, schedule, label)
    return {name: Timed(blocks[name], conditions[name], stages.get(name)) for name in opened}


def time_stages(runners: Mapping[str, Runner], schedule: Schedule, label: str) -> dict[str, NDArray[np.float32]]:
    """Time whole calls of the runners, in turn: (calls, 3), ms, by the runner's own clock."""
    picture = noise_picture()
    calls: dict[str, list[list[float]]] = {name: [] for name in runners}

    def call(name: str) -> Callable[[], None]:
        return lambda: calls[name].append(list(runners[name](picture, BOX).stages_ms.values()))

    short = replace(schedule, block_seconds=schedule.block_seconds / 2, block_runs=STAGE_RUNS, warmup_seconds=0.0)
    time_blocks({name: call(name) for name in runners}, short, label=f"stages, {label}")
    return {name: np.array(times, np.float32) for name, times in calls.items()}
