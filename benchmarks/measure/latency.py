"""Times opened candidates in turn, with what else went on in the machine, their power, and the runner's stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.candidates.candidate import Picture
from benchmarks.candidates.engines import Opened
from benchmarks.measure.conditions import Conditions, between, snapshot
from benchmarks.measure.power import PowerLog
from benchmarks.measure.stats import summarise
from benchmarks.records.record import LatencyMs, PowerW
from compress.check.timing import Milliseconds, Schedule, time_blocks
from runtime.runner import Runner

SCHEDULE = Schedule(rounds=10, block_seconds=3.0, block_runs=200, warmup_seconds=1.0)
STAGE_RUNS = 40  # of a block of whole calls
STAGES = ("preprocess", "inference", "postprocess")


@dataclass(frozen=True)
class Timed:
    """Of one candidate."""

    blocks: list[Milliseconds]
    latency: LatencyMs
    conditions: list[Conditions]
    power: PowerW | None
    stages_ms: NDArray[np.float32] | None  # (calls, 3) pre, infer, post; None: no artefact


def time_candidates(
    opened: Mapping[str, Opened], schedule: Schedule, picture: Picture, power: PowerLog | None, label: str
) -> dict[str, Timed]:
    """Blocks of all candidates in turn: the networks alone, then whole calls of those that are runners."""
    conditions: dict[str, list[Conditions]] = {}
    around = watch(conditions, power)
    blocks = time_blocks({name: one.run for name, one in opened.items()}, schedule, around, label)
    stages = time_stages({name: one.runner for name, one in opened.items() if one.runner}, schedule, picture, label)
    return {
        name: Timed(
            blocks[name],
            summarise(blocks[name]),
            conditions[name],
            None if power is None else power.result(name),
            stages.get(name),
        )
        for name in opened
    }


def watch(
    conditions: dict[str, list[Conditions]], power: PowerLog | None
) -> Callable[[str], AbstractContextManager[None]]:
    """What is entered around each block: keeps its conditions, and its power where there is a meter."""

    @contextmanager
    def around(name: str) -> Iterator[None]:
        with ExitStack() as stack:
            if power is not None:
                stack.enter_context(power.during(name))
            start = snapshot()
            yield
            conditions.setdefault(name, []).append(between(start, snapshot()))

    return around


def time_stages(
    runners: Mapping[str, Runner], schedule: Schedule, picture: Picture, label: str
) -> dict[str, NDArray[np.float32]]:
    """Of whole calls of the runners, in turn: (calls, 3), ms, by the runner's own clock."""
    calls: dict[str, list[list[float]]] = {name: [] for name in runners}

    def call(name: str) -> Callable[[], None]:
        def run() -> None:
            hands = runners[name](picture.rgb, picture.box)
            calls[name].append([hands.stages_ms[stage] for stage in STAGES])

        return run

    short = replace(schedule, block_seconds=schedule.block_seconds / 2, block_runs=STAGE_RUNS, warmup_seconds=0.0)
    time_blocks({name: call(name) for name in runners}, short, label=f"stages, {label}")
    return {name: np.array(times, np.float32) for name, times in calls.items()}
