"""What else went on in the machine while a block ran: other processes, a hypervisor's theft, clocks, throttling.

What a system does not say is None, or 0 cores, which is no reason to doubt and none to trust.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from benchmarks.devices.device_reader import read_files


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
