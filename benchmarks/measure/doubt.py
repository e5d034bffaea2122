"""The benchmark doubts itself: what speaks against a row's figures, in words, by its blocks and what else went on.

A row without reasons repeats: its median lies within a few percent of the next run's. A row with one may not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.measure.conditions import Conditions
from benchmarks.measure.stats import drift_pct
from benchmarks.records.record import Device, LatencyMs, Runtime

# What is still believed.
MEDIAN_UNCERTAINTY_PCT = 2.5  # half the 95 % interval of the blocks' median
CV_PCT = 10.0  # of single runs; GPUs keep below 2.5, CPUs under an operating system do not
DRIFT_PCT = 5.0  # from the first third of the blocks to the last
MIN_BLOCKS = 5
FOREIGN_CORES = 0.1  # kept busy by other processes
STOLEN_CORES = 0.02  # by the hypervisor
FREQUENCY_PCT = 5.0  # between the slowest and the fastest block


def doubts(latency: LatencyMs, conditions: Sequence[Conditions], runtime: Runtime, device: Device) -> list[str]:
    """Return the reasons not to trust a row, the worst first. What they begin with, up to the colon, is the cause."""
    wanted, used = runtime.provider_requested, runtime.provider_used
    fallback = [f"fallback: {wanted} was wanted, {used} ran"] if used != wanted else []
    return [*fallback, *_about_samples(latency), *_about_machine(conditions), *_about_board(device)]


def _about_samples(latency: LatencyMs) -> list[str]:
    reasons = []
    if len(latency.blocks_p50) < MIN_BLOCKS:
        reasons.append(f"few: {len(latency.blocks_p50)} blocks, {MIN_BLOCKS} or more tell noise from change")
    uncertainty_pct = 50 * (latency.p50_high - latency.p50_low) / latency.p50
    if uncertainty_pct > MEDIAN_UNCERTAINTY_PCT:
        reasons.append(f"noisy: the median is known to {uncertainty_pct:.1f} % only")
    if latency.cv_pct > CV_PCT:
        reasons.append(f"noisy: single runs scatter by {latency.cv_pct:.0f} %")
    drift = drift_pct(np.array(latency.blocks_p50))
    if abs(drift) > DRIFT_PCT:
        reasons.append(f"drift: the last blocks are {abs(drift):.0f} % {'slower' if drift > 0 else 'faster'}")
    return reasons


def _about_machine(conditions: Sequence[Conditions]) -> list[str]:
    reasons = []
    if any(block.throttled for block in conditions):
        reasons.append("throttled: the hardware slowed itself down")
    for chip, seen in (("CPU", [c.cpu_mhz for c in conditions]), ("GPU", [c.gpu_mhz for c in conditions])):
        clocks = [mhz for mhz in seen if mhz]
        if clocks and 100 * (1 - min(clocks) / max(clocks)) > FREQUENCY_PCT:
            reasons.append(f"frequency changed: {chip} {min(clocks):.0f} to {max(clocks):.0f} MHz")
    foreign = np.mean([block.foreign_cores for block in conditions])
    if foreign > FOREIGN_CORES:
        reasons.append(f"busy: other processes took {foreign:.1f} cores")
    stolen = np.mean([block.stolen_cores for block in conditions])
    if stolen > STOLEN_CORES:
        reasons.append(f"stolen: the hypervisor took {stolen:.2f} cores")
    return reasons


def _about_board(device: Device) -> list[str]:
    """Return what of a Jetson is not as docs/jetson.md sets it up: its power mode changes a figure several times."""
    if device.jetpack is None:
        return []
    unlocked = device.clocks is not None and device.clocks.locked is False
    reasons = ["unlocked: the clocks move, sudo jetson_clocks holds them"] if unlocked else []
    return [*reasons, *(["power mode unknown: see nvpmodel -q"] if device.power_mode is None else [])]
