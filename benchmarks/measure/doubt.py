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


@contextmanager
def watched(into: list[Conditions]) -> Iterator[None]:
    """Add what goes on during the block."""
    start_s, (foreign_s, stolen_s) = time.perf_counter(), _cpu_seconds()
    yield
    seconds = max(time.perf_counter() - start_s, 1e-9)
    foreign_end_s, stolen_end_s = _cpu_seconds()
    frequency = psutil.cpu_freq()
    into.append(
        Conditions(
            foreign_cores=max((foreign_end_s - foreign_s) / seconds, 0.0),
            stolen_cores=max((stolen_end_s - stolen_s) / seconds, 0.0),
            cpu_mhz=frequency.current if frequency else None,
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
    blocks = len(latency.blocks_p50)
    uncertain_pct = 50 * (latency.p50_high - latency.p50_low) / latency.p50
    drift = drift_pct(np.array(latency.blocks_p50))
    foreign = np.mean([block.foreign_cores for block in conditions])
    stolen = np.mean([block.stolen_cores for block in conditions])
    mhz = [block.cpu_mhz for block in conditions if block.cpu_mhz] or [0.0]
    said = (
        (used != wanted, f"fallback: {wanted} was wanted, {used} ran"),
        (blocks < MIN_BLOCKS, f"few: {blocks} blocks, {MIN_BLOCKS} or more tell noise from change"),
        (uncertain_pct > MEDIAN_UNCERTAINTY_PCT, f"noisy: the median is known to {uncertain_pct:.1f} % only"),
        (latency.cv_pct > CV_PCT, f"noisy: single runs scatter by {latency.cv_pct:.0f} %"),
        (
            abs(drift) > DRIFT_PCT,
            f"drift: the last blocks are {abs(drift):.0f} % {'slower' if drift > 0 else 'faster'}",
        ),
        (
            min(mhz) < (1 - FREQUENCY_PCT / 100) * max(mhz),
            f"frequency changed: CPU {min(mhz):.0f} to {max(mhz):.0f}",
        ),
        (foreign > FOREIGN_CORES, f"busy: other processes took {foreign:.1f} cores"),
        (stolen > STOLEN_CORES, f"stolen: the hypervisor took {stolen:.2f} cores"),
        # A Jetson's power mode changes a figure several times.
        (device.jetpack and device.power_mode is None, "power mode unknown: see nvpmodel -q"),
    )
    return [reason for wrong, reason in said if wrong]
