"""What Linux says of a machine between two blocks of a timing: clocks, the hottest sensor, throttling."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

GPU_NAMES = re.compile(r"gpu|ga10b|gv11b|gp10b|gm20b")
Clock = tuple[float | None, ...]  # MHz: now, and the lowest and the highest it may take
_ROOT = Path("/")


@dataclass(frozen=True)
class DeviceFacts:
    """A machine at one moment; None, or empty, where it does not say."""

    cpu_mhz: tuple[float, ...] = ()  # of every CPU that is switched on
    gpu_mhz: float | None = None  # of a Jetson
    locked: bool | None = None  # whether no clock can move: what jetson_clocks does
    temperature_c: float | None = None  # of the hottest sensor
    throttle_events: int | None = None  # how often over-current protection slowed a Jetson down since it started


def read_files(root: Path = _ROOT) -> DeviceFacts:
    """Return what the files of Linux say now."""
    folders = (root / "sys/devices/system/cpu").glob("cpu[0-9]*")
    on = [folder for folder in folders if _read_number(folder / "online") != 0]  # cpu0 has no such switch
    cpus = [_clock(folder, "cpufreq/scaling_{}_freq", 1e3) for folder in on]
    # Wherever this release has its GPU's devfreq device.
    patterns = ("class/devfreq/*", "devices/platform/*/devfreq_dev", "devices/*/devfreq/*")
    places = [place for pattern in patterns for place in sorted((root / "sys").glob(pattern))]
    gpus = [_clock(place, "{}_freq", 1e6) for place in places if GPU_NAMES.search(f"{place.parent.name} {place.name}")]
    gpu = next((clock for clock in gpus if clock[0] is not None), (None, None, None))
    spans = [clock[1:] for clock in (gpu, *cpus)]
    # Zones of parts that are switched off do not answer, or say -256 degrees.
    zones = [_read_number(path) for path in (root / "sys/class/thermal").glob("thermal_zone*/temp")]
    warm = [zone / 1000 for zone in zones if zone is not None and -40_000 < zone < 200_000]
    events = [_read_number(path) for path in (root / "sys/class/hwmon").glob("hwmon*/oc*_event_cnt")]
    known = [count for count in events if count is not None]
    return DeviceFacts(
        cpu_mhz=tuple(clock[0] for clock in cpus if clock[0] is not None),
        gpu_mhz=gpu[0],
        locked=None if not cpus or any(None in span for span in spans) else all(low == high for low, high in spans),
        temperature_c=max(warm, default=None),
        throttle_events=sum(known) if known else None,
    )


def _clock(folder: Path, name: str, per_mhz: float) -> Clock:
    found = [_read_number(folder / name.format(which)) for which in ("cur", "min", "max")]
    return tuple(None if number is None else number / per_mhz for number in found)


def _read_number(path: Path) -> int | None:
    """Return a file's number; None where there is none."""
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
