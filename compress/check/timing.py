"""Latency of several runs side by side: blocks in turn (A B A B ...), so that the machine's drift hits all alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from runtime.backends.opening import open_backend
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
    schedule: Schedule,
    around: Callable[[str], AbstractContextManager[object]] = nullcontext,
    label: str = "latency",
) -> dict[str, list[Milliseconds]]:
    """Per candidate its blocks, in the order of time. `around(name)` is entered for the counted runs of each block."""
    for run in candidates.values():
        _timed(run, schedule.warmup_seconds, least=0)
    blocks: dict[str, list[Milliseconds]] = {name: [] for name in candidates}
    with tqdm(total=schedule.rounds * len(candidates), desc=label, unit="block", leave=False) as bar:
        for _ in range(schedule.rounds):
            for name, run in candidates.items():
                bar.set_postfix_str(name)
                for _ in range(UNCOUNTED_RUNS):
                    run()
                with around(name):
                    blocks[name].append(_timed(run, schedule.block_seconds, most=schedule.block_runs or math.inf))
                bar.update()
    return blocks


def time_alternately(
    candidates: Mapping[str, Callable[[], object]], baseline: str, rounds: int = Schedule.rounds
) -> tuple[dict[str, Latency], dict[str, Ratio]]:
    """Latency of every candidate and its ratio to the baseline."""
    latency, medians = {}, {}
    for name, blocks in time_blocks(candidates, Schedule(rounds)).items():
        all_ms = np.concatenate(blocks)
        p10, median, p90 = (float(value) for value in np.percentile(all_ms, (10, 50, 90)))
        latency[name] = Latency(median, p10, p90, len(all_ms))
        medians[name] = np.array([np.median(block) for block in blocks])
    ratios = {}
    for name in candidates.keys() - {baseline}:
        times = medians[baseline] / medians[name]
        ratios[name] = Ratio(float(np.median(times)), float(times.min()), float(times.max()), rounds)
    return latency, ratios


def one_frame(path: Path, crop: NDArray[np.uint8]) -> Callable[[], object]:
    """One frame through a file on one thread: the network alone, on a real crop."""
    image = graph_input(crop)
    if path.suffix != ".onnx":
        backend = open_backend(path, "cpu", threads=1)
        return lambda: backend.run(image)
    session = open_session(path, threads=1)  # which needs no passport
    return lambda: session.run(None, {"image": image})


def _timed(run: Callable[[], object], seconds: float, least: int = MIN_RUNS, most: float = math.inf) -> Milliseconds:
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while len(samples) < least or (time.perf_counter() < end and len(samples) < most):
        start = time.perf_counter()
        run()
        samples.append((time.perf_counter() - start) * 1000)
    return np.array(samples)
