"""Figures of timed blocks, and how far they can be trusted: intervals by resampling whole blocks.

Runs of one block resemble each other more than those of another, so blocks are what is drawn, not runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.records.record import LatencyMs, Ratio

Floats = NDArray[np.floating]

RESAMPLES = 4000
_SEED = 20260101


@dataclass(frozen=True)
class Interval:
    """An estimate and what lies around it in 95 % of the resamples."""

    estimate: float
    low: float
    high: float


def summarise(blocks: Sequence[Floats]) -> LatencyMs:
    """Summarise one candidate's blocks of runs, ms."""
    runs = np.concatenate(blocks).astype(np.float64)
    p50, p90, p95, p99 = np.percentile(runs, (50, 90, 95, 99))
    medians = np.array([np.median(block) for block in blocks])
    interval = median_interval(medians)
    mean, std = float(runs.mean()), float(runs.std(ddof=1)) if len(runs) > 1 else 0.0
    return LatencyMs(
        mean=mean,
        std=std,
        min=float(runs.min()),
        p50=float(p50),
        p90=float(p90),
        p95=float(p95),
        p99=float(p99),
        max=float(runs.max()),
        cv_pct=100 * std / mean,
        p50_low=interval.low,
        p50_high=interval.high,
        blocks_p50=medians.tolist(),
    )


def median_interval(values: Floats) -> Interval:
    """Return the interval of the median of independent values."""
    return _interval(float(np.median(values)), np.median(_resample(values), axis=1))


def ratio(numerator_p50: Floats, denominator_p50: Floats) -> Ratio:
    """Divide two candidates timed in the same rounds, round by round."""
    interval = median_interval(numerator_p50 / denominator_p50)
    return Ratio(interval.estimate, interval.low, interval.high)


def change(old_p50: Floats, new_p50: Floats) -> Interval:
    """Return NEW over OLD less 1, of two runs whose blocks have nothing to do with each other."""
    drawn = np.median(_resample(new_p50, 1), axis=1) / np.median(_resample(old_p50), axis=1)
    return _interval(float(np.median(new_p50) / np.median(old_p50)) - 1, drawn - 1)


def drift_pct(medians: Floats) -> float:
    """Return how much the last third of the blocks is slower than the first third."""
    third = max(len(medians) // 3, 1)
    return float(100 * (np.median(medians[-third:]) / np.median(medians[:third]) - 1))


def _resample(values: Floats, stream: int = 0) -> Floats:
    """(RESAMPLES, len(values)) drawn with replacement; the same draws every time."""
    generator = np.random.default_rng((_SEED, stream))
    return values[generator.integers(0, len(values), (RESAMPLES, len(values)))]


def _interval(estimate: float, drawn: Floats) -> Interval:
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Interval(estimate, float(low), float(high))
