"""What else went on in the machine while a block ran: other processes, a hypervisor's theft, clocks, throttling.

What a system does not say is None, which is no reason to doubt and none to trust.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.devices.device_reader import read_files

_ROOT = Path("/")


@dataclass(frozen=True)
class Snapshot:
    """The machine at one moment. CPU times are sums over all cores since boot, s."""

    wall_s: float
    busy_s: float  # all processes of this machine
    stolen_s: float | None  # by the hypervisor for other machines
    own_s: float  # this process
    cpu_mhz: float | None  # mean over the cores
    gpu_mhz: float | None  # of a Jetson
    temperature_c: float | None  # of the hottest sensor
    throttle_events: int | None  # how often the hardware has slowed itself down since boot
    slowed: bool | None  # whether it says that it does so now


@dataclass(frozen=True)
class Conditions:
    """Of one block, or of several one after the other."""

    seconds: float
    foreign_cores: float | None  # that other processes kept busy
    stolen_cores: float | None
    cpu_mhz: float | None
    gpu_mhz: float | None
    temperature_c: float | None
    throttled: bool | None  # whether the hardware slowed itself down for heat, current or voltage


def snapshot() -> Snapshot:
    """Look at the machine now."""
    times, facts, intel_events = psutil.cpu_times(), read_files(), _intel_throttle_events()
    return Snapshot(
        wall_s=time.perf_counter(),
        busy_s=sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq")),
        stolen_s=getattr(times, "steal", None),
        own_s=time.process_time(),
        cpu_mhz=sum(facts.cpu_mhz) / len(facts.cpu_mhz) if facts.cpu_mhz else None,
        gpu_mhz=facts.gpu_mhz,
        temperature_c=facts.temperature_c,
        throttle_events=facts.throttle_events if intel_events is None else intel_events,
        slowed=_slowed(),
    )


def between(start: Snapshot, end: Snapshot) -> Conditions:
    """Return what went on between two snapshots."""
    seconds = max(end.wall_s - start.wall_s, 1e-9)
    foreign_s = end.busy_s - start.busy_s - (end.own_s - start.own_s)
    stolen_s = None if start.stolen_s is None or end.stolen_s is None else end.stolen_s - start.stolen_s
    signs = [start.slowed, end.slowed]
    if start.throttle_events is not None and end.throttle_events is not None:
        signs.append(end.throttle_events > start.throttle_events)
    told = [sign for sign in signs if sign is not None]
    return Conditions(
        seconds=seconds,
        foreign_cores=max(foreign_s / seconds, 0.0),
        stolen_cores=None if stolen_s is None else max(stolen_s / seconds, 0.0),
        cpu_mhz=end.cpu_mhz,
        gpu_mhz=end.gpu_mhz,
        temperature_c=end.temperature_c,
        throttled=any(told) if told else None,
    )


def _intel_throttle_events() -> int | None:
    """Count those of Intel's CPUs for heat; a Jetson counts its own for current and voltage."""
    counters = (_ROOT / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/core_throttle_count")
    counts = [count for path in counters if (count := _number(path, 10)) is not None]
    return sum(counts) if counts else None


def _slowed() -> bool | None:
    """Say whether a Raspberry Pi slows down now: the lower four bits of what its firmware says."""
    flags = _number(_ROOT / "sys/devices/platform/soc/soc:firmware/get_throttled", 16)
    return None if flags is None else bool(flags & 0xF)


def _number(path: Path, base: int) -> int | None:
    try:
        return int(path.read_text(encoding="utf-8"), base)
    except (OSError, ValueError):
        return None
