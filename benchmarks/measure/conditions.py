"""What else went on in the machine while a block ran: other processes, a hypervisor's theft, clocks, throttling.

Linux says it under /proc and /sys; elsewhere everything is None, which is no reason to doubt and none to trust.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.devices.device_reader import read_files

_ROOT = Path("/")


@dataclass(frozen=True)
class Snapshot:
    """The machine at one moment. CPU times are sums over all cores since boot, s."""

    wall_s: float
    busy_s: float | None  # all processes of this machine
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


def snapshot(root: Path = _ROOT) -> Snapshot:
    """The machine now."""
    busy_s, stolen_s = _cpu_times(root)
    facts, intel_events = read_files(root), _intel_throttle_events(root)
    return Snapshot(
        wall_s=time.perf_counter(),
        busy_s=busy_s,
        stolen_s=stolen_s,
        own_s=time.process_time(),
        cpu_mhz=sum(facts.cpu_mhz) / len(facts.cpu_mhz) if facts.cpu_mhz else None,
        gpu_mhz=facts.gpu_mhz,
        temperature_c=max(facts.temperatures_c.values(), default=None),
        throttle_events=facts.throttle_events if intel_events is None else intel_events,
        slowed=_slowed(root),
    )


def between(start: Snapshot, end: Snapshot) -> Conditions:
    """What went on between two snapshots."""
    seconds = max(end.wall_s - start.wall_s, 1e-9)

    def cores(before: float | None, after: float | None, own_s: float = 0.0) -> float | None:
        return None if before is None or after is None else max((after - before - own_s) / seconds, 0.0)

    signs = [start.slowed, end.slowed]
    if start.throttle_events is not None and end.throttle_events is not None:
        signs.append(end.throttle_events > start.throttle_events)
    told = [sign for sign in signs if sign is not None]
    return Conditions(
        seconds=seconds,
        foreign_cores=cores(start.busy_s, end.busy_s, end.own_s - start.own_s),
        stolen_cores=cores(start.stolen_s, end.stolen_s),
        cpu_mhz=end.cpu_mhz,
        gpu_mhz=end.gpu_mhz,
        temperature_c=end.temperature_c,
        throttled=any(told) if told else None,
    )


def _cpu_times(root: Path) -> tuple[float | None, float | None]:
    """Busy and stolen seconds of all cores, from the first line of /proc/stat."""
    try:
        first = (root / "proc/stat").read_text().split("\n", 1)[0].split()
        user, nice, system, _idle, _iowait, irq, softirq, steal = (int(value) for value in first[1:9])
    except (OSError, ValueError):
        return None, None
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) * tick_s, steal * tick_s


def _intel_throttle_events(root: Path) -> int | None:
    """Of Intel's CPUs for heat; a Jetson counts its own for current and voltage."""
    counters = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/core_throttle_count")
    counts = [count for path in counters if (count := _number(path, 10)) is not None]
    return sum(counts) if counts else None


def _slowed(root: Path) -> bool | None:
    """Whether a Raspberry Pi slows down now: the lower four bits of what its firmware says."""
    flags = _number(root / "sys/devices/platform/soc/soc:firmware/get_throttled", 16)
    return None if flags is None else bool(flags & 0xF)


def _number(path: Path, base: int) -> int | None:
    try:
        return int(path.read_text(), base)
    except (OSError, ValueError):
        return None
