"""Figures of timed blocks, and how far they can be trusted: intervals by resampling whole blocks.

Runs of one block resemble each other more than those of another, so blocks are what is drawn, not runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.records.record import LatencyMs, Ratio

Floats = NDArray[np.floating]

RESAMPLES = 4000
_SEED = 20260101


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


def median_interval(values: Floats) -> Ratio:
    """Return the median of independent values, and what lies around it in 95 % of the resamples."""
    drawn = values[np.random.default_rng((_SEED, 0)).integers(0, len(values), (RESAMPLES, len(values)))]
    low, high = np.percentile(np.median(drawn, axis=1), (2.5, 97.5))
    return Ratio(float(np.median(values)), float(low), float(high))


def ratio(numerator_p50: Floats, denominator_p50: Floats) -> Ratio:
    """Divide two candidates timed in the same rounds, round by round."""
    return median_interval(numerator_p50 / denominator_p50)


def drift_pct(medians: Floats) -> float:
    """Return how much the last third of the blocks is slower than the first third."""
    third = max(len(medians) // 3, 1)
    return float(100 * (np.median(medians[-third:]) / np.median(medians[:third]) - 1))
