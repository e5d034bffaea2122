"""What a Jetson says of itself in files: board, power mode, clocks, temperatures, throttling, memory."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runtime.backends.trt_api import l4t_release
from targets import identify

# Jetson Linux -> JetPack, by major release (facts of NVIDIA's archive).
JETPACK_OF_L4T = {32: "4", 35: "5", 36: "6", 38: "7", 39: "7"}
GPU_NAMES = re.compile(r"gpu|ga10b|gv11b|gp10b|gm20b")
_NVPMODEL_SECONDS = 5

Run = Callable[[list[str]], str]


@dataclass(frozen=True)
class Clock:
    """Hz; None where the file is not there or not readable."""

    current: int | None
    minimum: int | None
    maximum: int | None

    @property
    def locked(self) -> bool | None:
        """Whether it cannot move: what jetson_clocks does."""
        return None if self.minimum is None or self.maximum is None else self.minimum == self.maximum


@dataclass(frozen=True)
class Board:
    """A Jetson."""

    model: str  # in the device tree's words
    profile: str | None  # of targets/
    l4t: str | None
    jetpack: str | None


def read_board(root: Path = Path("/")) -> Board | None:
    """The board this runs on; None where it is no Jetson."""
    l4t = l4t_release(root)
    profile = identify(root)
    if l4t is None and not (profile or "").startswith("jetson"):
        return None
    jetpack = JETPACK_OF_L4T.get(int(l4t.split(".")[0])) if l4t else None
    model = _text(root / "proc/device-tree/model")
    return Board((model or "unknown").strip("\0 \n"), profile, l4t, jetpack)


def run_command(words: list[str]) -> str:
    """Its output; empty where it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_NVPMODEL_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def power_mode(root: Path = Path("/"), run: Run = run_command) -> str | None:
    """The mode of nvpmodel by its name: asked from the command, else read from its files; None where unknown."""
    said = re.search(r"NV Power Mode\s*:\s*(\S+)", run(["nvpmodel", "-q"]))
    if said:
        return said[1]
    status = re.search(r"pmode:(\d+)", _text(root / "var/lib/nvpmodel/status") or "")
    config = _text(root / "etc/nvpmodel.conf") or ""
    modes = {int(number): name for number, name in re.findall(r"POWER_MODEL\s+ID=(\d+)\s+NAME=(\w+)", config)}
    return modes.get(int(status[1])) if status else None


def gpu_clock(root: Path = Path("/")) -> Clock:
    """Of the GPU's devfreq device, wherever this release has it."""
    places = (
        *sorted((root / "sys/class/devfreq").glob("*")),
        *sorted((root / "sys/devices/platform").glob("*/devfreq_dev")),
        *sorted((root / "sys/devices").glob("*/devfreq/*")),
    )
    for place in places:
        name = place.name if place.name != "devfreq_dev" else place.parent.name
        clock = Clock(*(_number(place / file) for file in ("cur_freq", "min_freq", "max_freq")))
        if GPU_NAMES.search(name) and clock.current is not None:
            return clock
    return Clock(None, None, None)


def cpu_clocks(root: Path = Path("/")) -> dict[str, Clock]:
    """Of every CPU that is switched on."""
    clocks = {}
    for folder in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*"), key=lambda path: int(path.name[3:])):
        if _number(folder / "online") != 0:  # cpu0 has no such file
            files = ("scaling_cur_freq", "scaling_min_freq", "scaling_max_freq")
            khz = [_number(folder / "cpufreq" / file) for file in files]
            if any(value is not None for value in khz):
                clocks[folder.name] = Clock(*(None if value is None else 1000 * value for value in khz))
    return clocks


def memory_clock(root: Path = Path("/")) -> int | None:
    """Hz of the memory controller; readable by root alone."""
    return _number(root / "sys/kernel/debug/bpmp/debug/clk/emc/rate")


def clocks(root: Path = Path("/")) -> dict[str, Any]:
    """All of them, with whether they are locked, for a record."""
    gpu, cpus = gpu_clock(root), cpu_clocks(root)
    states = [gpu.locked, *(clock.locked for clock in cpus.values())]
    return {
        "gpu_hz": asdict(gpu),
        "cpu_hz": {name: asdict(clock) for name, clock in cpus.items()},
        "memory_hz": memory_clock(root),
        "locked": None if None in states or not cpus else all(states),
    }


def temperatures_c(root: Path = Path("/")) -> dict[str, float]:
    """Of every thermal zone that answers; zones of parts that are off do not."""
    found = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        name, value = _text(zone / "type"), _number(zone / "temp")
        if name and value is not None and -40_000 < value < 200_000:
            found[name.strip()] = value / 1000
    return found


def throttle_events(root: Path = Path("/")) -> int | None:
    """How often over-current protection slowed the module down since it started; None where nobody counts."""
    counts = [_number(path) for path in (root / "sys/class/hwmon").glob("hwmon*/oc*_event_cnt")]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def process_peak_mb(root: Path = Path("/")) -> float | None:
    """VmHWM: the most this process ever had in memory."""
    return _meminfo(root / "proc/self/status", "VmHWM")


def available_mb(root: Path = Path("/")) -> float | None:
    """MemAvailable: what a new program could have, on a Jetson the GPU's share, too."""
    return _meminfo(root / "proc/meminfo", "MemAvailable")


def _meminfo(path: Path, key: str) -> float | None:
    found = re.search(rf"^{key}:\s+(\d+) kB", _text(path) or "", re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
