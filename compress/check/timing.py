"""Latency of several runs side by side: blocks in turn (A B A B ...), so that the machine's drift hits all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from runtime.backends.session import open_session
from runtime.runner import graph_input

MIN_RUNS = 5
UNCOUNTED_RUNS = 2  # at the start of each block: they bring code and weights back into the caches

Milliseconds = NDArray[np.float64]  # (runs,) of one block


@dataclass(frozen=True)
class Schedule:
    """How long to time. A block ends after `block_runs` runs or `block_seconds`, whichever comes first."""

    rounds: int = 12
    block_seconds: float = 0.25
    block_runs: int | None = None  # None: time alone ends a block
    warmup_seconds: float = 0.0  # of each candidate, before the first round


ALTERNATING = Schedule()


@dataclass(frozen=True)
class Latency:
    """Of one candidate, ms, over all runs of all blocks."""

    median: float
    p10: float
    p90: float
    runs: int


@dataclass(frozen=True)
class Ratio:
    """How many times faster a candidate is than the baseline: per round the ratio of the two blocks' medians."""

    median: float
    min: float
    max: float
    rounds: int


def time_blocks(
    candidates: Mapping[str, Callable[[], object]],
    schedule: Schedule = ALTERNATING,
    around: Callable[[str], AbstractContextManager[object]] = nullcontext,
    label: str = "latency",
) -> dict[str, list[Milliseconds]]:
    """Per candidate its blocks, in the order of time. `around(name)` is entered for the counted runs of each block."""
    for run in candidates.values():
        _run_for(run, schedule.warmup_seconds)
    blocks: dict[str, list[Milliseconds]] = {name: [] for name in candidates}
    with tqdm(total=schedule.rounds * len(candidates), desc=label, unit="block", leave=False) as bar:
        for _ in range(schedule.rounds):
            for name, run in candidates.items():
                bar.set_postfix_str(name)
                for _ in range(UNCOUNTED_RUNS):
                    run()
                with around(name):
                    blocks[name].append(_block_ms(run, schedule))
                bar.update()
    return blocks


def time_alternately(
    candidates: Mapping[str, Callable[[], object]], baseline: str, rounds: int = ALTERNATING.rounds
) -> tuple[dict[str, Latency], dict[str, Ratio]]:
    """Latency of every candidate and its ratio to the baseline."""
    blocks = time_blocks(candidates, Schedule(rounds))
    latency = {}
    for name, parts in blocks.items():
        all_ms = np.concatenate(parts)
        p10, median, p90 = np.percentile(all_ms, (10, 50, 90))
        latency[name] = Latency(float(median), float(p10), float(p90), len(all_ms))
    medians = {name: np.array([np.median(part) for part in parts]) for name, parts in blocks.items()}
    ratios = {name: _ratio(medians[baseline] / ms) for name, ms in medians.items() if name != baseline}
    return latency, ratios


def one_frame(path: Path, crop: NDArray[np.uint8]) -> Callable[[], object]:
    """One frame through an ONNX file on one thread: the network alone, on a real crop."""
    session, image = open_session(path, threads=1), graph_input(crop)
    return lambda: session.run(None, {"image": image})


def _run_for(run: Callable[[], object], seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        run()


def _block_ms(run: Callable[[], object], schedule: Schedule) -> Milliseconds:
    samples: list[float] = []
    end = time.perf_counter() + schedule.block_seconds
    enough = np.inf if schedule.block_runs is None else schedule.block_runs
    while len(samples) < MIN_RUNS or (time.perf_counter() < end and len(samples) < enough):
        start = time.perf_counter()
        run()
        samples.append((time.perf_counter() - start) * 1000)
    return np.array(samples)


def _ratio(per_round: NDArray[np.float64]) -> Ratio:
    return Ratio(float(np.median(per_round)), float(per_round.min()), float(per_round.max()), len(per_round))
