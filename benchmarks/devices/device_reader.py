"""What a machine says of itself: board, power mode, clocks, temperatures, throttling, memory.

Linux's files say it at once, also between two blocks of a timing (`read_files`). On a Jetson, jetson-stats knows more
(`read_device`): where its package can be imported and its service runs, it has the last word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runtime.backends.trt_api import l4t_release

GPU_NAMES = re.compile(r"gpu|ga10b|gv11b|gp10b|gm20b")
Clock = tuple[float | None, ...]  # MHz: now, and the lowest and the highest it may take
_ROOT = Path("/")


@dataclass(frozen=True)
class DeviceFacts:
    """A machine at one moment; None, or empty, where it does not say."""

    board: str | None = None  # in the device tree's words
    l4t: str | None = None  # Jetson Linux: 36.4.3; None anywhere else
    power_mode: str | None = None  # of nvpmodel
    cpu_mhz: tuple[float, ...] = ()  # of every CPU that is switched on
    gpu_mhz: float | None = None
    locked: bool | None = None  # whether no clock can move: what jetson_clocks does
    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    throttle_events: int | None = None  # how often over-current protection slowed the module down since it started
    available_mb: float | None = None  # MemAvailable: what a new program could have, on a Jetson the GPU's share, too


def read_device(root: Path = _ROOT) -> DeviceFacts:
    """Return what the machine says, on a Jetson by jetson-stats where it answers. It takes up to a second."""
    facts = read_files(root)
    return facts if facts.l4t is None else replace(facts, **_from_jetson_stats())


def read_files(root: Path = _ROOT) -> DeviceFacts:
    """Return what the files of Linux say now."""
    cpus, gpu = _cpu_clocks(root), _gpu_clock(root)
    spans = [clock[1:] for clock in (gpu, *cpus)]
    return DeviceFacts(
        board=_text(root / "proc/device-tree/model"),
        l4t=l4t_release(root),
        power_mode=_power_mode(root),
        cpu_mhz=tuple(clock[0] for clock in cpus if clock[0] is not None),
        gpu_mhz=gpu[0],
        locked=None if not cpus or any(None in span for span in spans) else all(low == high for low, high in spans),
        temperatures_c=_temperatures(root),
        throttle_events=_throttle_events(root),
        available_mb=_available_mb(root),
    )


def _from_jetson_stats() -> dict[str, Any]:
    """Return those fields of DeviceFacts that jetson-stats fills; empty where it is not there."""
    try:
        from jtop import jtop  # optional: it is AGPL, and needs a service that root installs

        with jtop() as stats:
            cpus = [cpu["freq"]["cur"] / 1e3 for cpu in stats.cpu["cpu"] if cpu.get("online")]
            gpus = [gpu["freq"]["cur"] / 1e3 for gpu in stats.gpu.values()]
            sensors = stats.temperature.items()
            found = {
                "power_mode": None if stats.nvpmodel is None else str(stats.nvpmodel.name),
                "cpu_mhz": tuple(cpus),
                "gpu_mhz": gpus[0] if gpus else None,
                "locked": None if stats.jetson_clocks is None else bool(stats.jetson_clocks),
                "temperatures_c": {name: float(sensor["temp"]) for name, sensor in sensors if sensor.get("online")},
            }
    except Exception:  # no package, no service, one of another version: it has no class of errors for all of that
        return {}
    return {name: value for name, value in found.items() if value not in (None, (), {})}


def _cpu_clocks(root: Path) -> list[Clock]:
    """Return those of every CPU that is switched on; cpu0 has no such switch."""
    folders = (root / "sys/devices/system/cpu").glob("cpu[0-9]*")
    return [
        tuple(_divided(folder / f"cpufreq/scaling_{which}_freq", 1e3) for which in ("cur", "min", "max"))
        for folder in folders
        if _number(folder / "online") != 0
    ]


def _gpu_clock(root: Path) -> Clock:
    """Return that of the GPU's devfreq device, wherever this release has it."""
    places = (
        *sorted((root / "sys/class/devfreq").glob("*")),
        *sorted((root / "sys/devices/platform").glob("*/devfreq_dev")),
        *sorted((root / "sys/devices").glob("*/devfreq/*")),
    )
    for place in places:
        name = place.parent.name if place.name == "devfreq_dev" else place.name
        clock = tuple(_divided(place / f"{which}_freq", 1e6) for which in ("cur", "min", "max"))
        if GPU_NAMES.search(name) and clock[0] is not None:
            return clock
    return None, None, None


def _power_mode(root: Path) -> str | None:
    """Return nvpmodel's mode by its name: its status has a number, its configuration the names."""
    status = re.search(r"pmode:(\d+)", _text(root / "var/lib/nvpmodel/status") or "")
    config = _text(root / "etc/nvpmodel.conf") or ""
    modes = {int(number): name for number, name in re.findall(r"POWER_MODEL\s+ID=(\d+)\s+NAME=(\w+)", config)}
    return modes.get(int(status[1])) if status else None


def _temperatures(root: Path) -> dict[str, float]:
    """Return those of every thermal zone that answers; zones of parts that are off do not."""
    found = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        name, value = _text(zone / "type"), _number(zone / "temp")
        if name and value is not None and -40_000 < value < 200_000:
            found[name] = value / 1000
    return found


def _throttle_events(root: Path) -> int | None:
    counts = [_number(path) for path in (root / "sys/class/hwmon").glob("hwmon*/oc*_event_cnt")]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _available_mb(root: Path) -> float | None:
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _text(root / "proc/meminfo") or "", re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else None


def _divided(path: Path, by: float) -> float | None:
    number = _number(path)
    return None if number is None else number / by


def _text(path: Path) -> str | None:
    """Return a file's text; the device tree ends its texts with a zero byte."""
    try:
        return path.read_text(errors="replace").strip("\0 \n") or None
    except OSError:
        return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
