"""The benchmark doubts itself: what speaks against a row's figures, in words, by its blocks and what else went on.

A row without reasons repeats: its median lies within a few percent of the next run's. A row with one may not. What a
system does not say is None, or 0 cores, which is no reason to doubt and none to trust.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import psutil

from benchmarks.devices.device_reader import read_files
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


@dataclass(frozen=True)
class Conditions:
    """Of one block."""

    foreign_cores: float  # that other processes kept busy
    stolen_cores: float  # that a hypervisor gave to other machines
    cpu_mhz: float | None  # mean over the cores, at the end
    gpu_mhz: float | None
    throttled: bool  # whether a Jetson says that it slowed itself down; elsewhere the clocks tell


@contextmanager
def watched(into: list[Conditions]) -> Iterator[None]:
    """Add what goes on during the block."""
    start_s, (foreign_s, stolen_s), events = time.perf_counter(), _cpu_seconds(), read_files().throttle_events or 0
    yield
    seconds = max(time.perf_counter() - start_s, 1e-9)
    foreign_end_s, stolen_end_s = _cpu_seconds()
    facts = read_files()
    into.append(
        Conditions(
            foreign_cores=max((foreign_end_s - foreign_s) / seconds, 0.0),
            stolen_cores=max((stolen_end_s - stolen_s) / seconds, 0.0),
            cpu_mhz=sum(facts.cpu_mhz) / len(facts.cpu_mhz) if facts.cpu_mhz else None,
            gpu_mhz=facts.gpu_mhz,
            throttled=(facts.throttle_events or 0) > events,
        )
    )


def _cpu_seconds() -> tuple[float, float]:
    """Return what other processes and a hypervisor have taken since boot, summed over the cores."""
    times = psutil.cpu_times()
    busy_s = sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq"))
    return busy_s - time.process_time(), getattr(times, "steal", 0.0)


def doubts(latency: LatencyMs, conditions: Sequence[Conditions], runtime: Runtime, device: Device) -> list[str]:
    """Return the reasons not to trust a row, the worst first. What they begin with, up to the colon, is the cause."""
    wanted, used = runtime.provider_requested, runtime.provider_used
    fallback = [f"fallback: {wanted} was wanted, {used} ran"] if used != wanted else []
    unlocked = device.clocks is not None and device.clocks.locked is False
    # What of a Jetson is not as docs/jetson.md sets it up: its power mode changes a figure several times.
    board = ["unlocked: the clocks move, sudo jetson_clocks holds them"] if device.jetpack and unlocked else []
    board += ["power mode unknown: see nvpmodel -q"] if device.jetpack and device.power_mode is None else []
    return [*fallback, *_about_samples(latency), *_about_machine(conditions), *board]


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
