"""What else went on in the machine while a block ran: other processes, a hypervisor's theft, clocks, throttling.

What a system does not say is None, or 0 cores, which is no reason to doubt and none to trust.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.devices.device_reader import DeviceFacts, read_files

_INTEL = Path("/sys/devices/system/cpu")
_RASPBERRY_PI = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")


@dataclass(frozen=True)
class Conditions:
    """Of one block."""

    foreign_cores: float  # that other processes kept busy
    stolen_cores: float  # that a hypervisor gave to other machines
    cpu_mhz: float | None  # mean over the cores, at the end
    gpu_mhz: float | None
    throttled: bool  # whether the hardware is known to have slowed itself down for heat, current or voltage


@contextmanager
def watched(into: list[Conditions]) -> Iterator[None]:
    """Add what goes on during the block."""
    start_s, (foreign_s, stolen_s), events, slow = time.perf_counter(), _cpu_seconds(), _events(read_files()), _slowed()
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
            throttled=slow or _slowed() or _events(facts) > events,
        )
    )


def _cpu_seconds() -> tuple[float, float]:
    """Return what other processes and a hypervisor have taken since boot, summed over the cores."""
    times = psutil.cpu_times()
    busy_s = sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq"))
    return busy_s - time.process_time(), getattr(times, "steal", 0.0)


def _events(facts: DeviceFacts) -> int:
    """Return how often the hardware slowed itself down since boot: Intel's CPUs for heat, a Jetson for current."""
    counters = _INTEL.glob("cpu[0-9]*/thermal_throttle/core_throttle_count")
    return (facts.throttle_events or 0) + sum(_number(path, 10) for path in counters)


def _slowed() -> bool:
    """Say whether a Raspberry Pi slows down now: the lower four bits of what its firmware says."""
    return bool(_number(_RASPBERRY_PI, 16) & 0xF)


def _number(path: Path, base: int) -> int:
    try:
        return int(path.read_text(encoding="utf-8"), base)
    except (OSError, ValueError):
        return 0
