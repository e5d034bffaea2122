"""Latency of several runs side by side: blocks in turn (A B A B ...), so that the machine's drift hits all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

ROUNDS = 12
BLOCK_SECONDS = 0.25
MIN_RUNS = 5


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


def time_alternately(
    candidates: Mapping[str, Callable[[], object]], baseline: str, rounds: int = ROUNDS
) -> tuple[dict[str, Latency], dict[str, Ratio]]:
    """Latency of every candidate and its ratio to the baseline. Each block starts with two runs that do not count."""
    blocks: dict[str, list[np.ndarray]] = {name: [] for name in candidates}
    with tqdm(total=rounds * len(candidates), desc="latency", unit="block", leave=False) as bar:
        for _ in range(rounds):
            for name, run in candidates.items():
                blocks[name].append(_block_ms(run))
                bar.update()
    latency = {}
    for name, parts in blocks.items():
        all_ms = np.concatenate(parts)
        p10, median, p90 = np.percentile(all_ms, (10, 50, 90))
        latency[name] = Latency(float(median), float(p10), float(p90), len(all_ms))
    medians = {name: np.array([np.median(part) for part in parts]) for name, parts in blocks.items()}
    ratios = {name: _ratio(medians[baseline] / ms) for name, ms in medians.items() if name != baseline}
    return latency, ratios


def _block_ms(run: Callable[[], object]) -> np.ndarray:
    run()
    run()
    samples: list[float] = []
    end = time.perf_counter() + BLOCK_SECONDS
    while time.perf_counter() < end or len(samples) < MIN_RUNS:
        start = time.perf_counter()
        run()
        samples.append((time.perf_counter() - start) * 1000)
    return np.array(samples)


def _ratio(per_round: np.ndarray) -> Ratio:
    return Ratio(float(np.median(per_round)), float(per_round.min()), float(per_round.max()), len(per_round))
