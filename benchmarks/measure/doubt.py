"""The benchmark doubts itself: what speaks against a row's figures, in words, by its blocks and what else went on.

A row without reasons repeats: its median lies within a few percent of the next run's. A row with one may not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.measure.conditions import Conditions
from benchmarks.measure.stats import drift_pct
from benchmarks.records.record import LatencyMs, Runtime


@dataclass(frozen=True)
class Limits:
    """What is still believed."""

    median_uncertainty_pct: float = 2.5  # half the 95 % interval of the blocks' median
    cv_pct: float = 10.0  # of single runs; GPUs keep below 2.5, CPUs under an operating system do not
    drift_pct: float = 5.0  # from the first third of the blocks to the last
    min_blocks: int = 5
    foreign_cores: float = 0.1  # kept busy by other processes
    stolen_cores: float = 0.02  # by the hypervisor
    frequency_pct: float = 5.0  # between the slowest and the fastest block


LIMITS = Limits()


def doubts(
    latency: LatencyMs, conditions: Sequence[Conditions], runtime: Runtime, limits: Limits = LIMITS
) -> list[str]:
    """Reasons not to trust a row, the worst first; none where there are none."""
    return [
        *_about_provider(runtime),
        *_about_samples(latency, limits),
        *_about_machine(conditions, limits),
    ]


def _about_provider(runtime: Runtime) -> list[str]:
    wanted, used = runtime.provider_requested, runtime.provider_used
    if wanted is None or used is None or used == wanted:
        return []
    return [f"fallback: {wanted} was wanted, {used} ran"]


def _about_samples(latency: LatencyMs, limits: Limits) -> list[str]:
    reasons = []
    if len(latency.blocks_p50) < limits.min_blocks:
        reasons.append(f"few: {len(latency.blocks_p50)} blocks, {limits.min_blocks} or more tell noise from change")
    uncertainty = 50 * (latency.p50_high - latency.p50_low) / latency.p50
    if uncertainty > limits.median_uncertainty_pct:
        reasons.append(f"noisy: the median is known to {uncertainty:.1f} % only")
    if latency.cv_pct > limits.cv_pct:
        reasons.append(f"noisy: single runs scatter by {latency.cv_pct:.0f} %")
    drift = drift_pct(np.array(latency.blocks_p50))
    if abs(drift) > limits.drift_pct:
        reasons.append(f"drift: the last blocks are {abs(drift):.0f} % {'slower' if drift > 0 else 'faster'}")
    return reasons


def _about_machine(conditions: Sequence[Conditions], limits: Limits) -> list[str]:
    reasons = []
    if any(block.throttled for block in conditions):
        reasons.append("throttled: the hardware slowed itself down")
    for chip, seen in (("CPU", [c.cpu_mhz for c in conditions]), ("GPU", [c.gpu_mhz for c in conditions])):
        clocks = [mhz for mhz in seen if mhz]
        if clocks and 100 * (1 - min(clocks) / max(clocks)) > limits.frequency_pct:
            reasons.append(f"frequency changed: {chip} {min(clocks):.0f} to {max(clocks):.0f} MHz")
    foreign = _mean_cores([(block.foreign_cores, block.seconds) for block in conditions])
    if foreign is not None and foreign > limits.foreign_cores:
        reasons.append(f"busy: other processes took {foreign:.1f} cores")
    stolen = _mean_cores([(block.stolen_cores, block.seconds) for block in conditions])
    if stolen is not None and stolen > limits.stolen_cores:
        reasons.append(f"stolen: the hypervisor took {stolen:.2f} cores")
    return reasons


def _mean_cores(blocks: Sequence[tuple[float | None, float]]) -> float | None:
    known = [(cores, seconds) for cores, seconds in blocks if cores is not None]
    total = sum(seconds for _, seconds in known)
    return sum(cores * seconds for cores, seconds in known) / total if total else None
