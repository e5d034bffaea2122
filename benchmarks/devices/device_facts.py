"""What this device is: the facts a record states of it. Whatever the system does not say is None."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import distributions
from pathlib import Path

import psutil

from benchmarks.records.record import Device
from runtime.backends.trt_api import l4t_release
from runtime.errors import UserError
from runtime.machine import cpu_flags, processor_name, usable_cores
from targets import identify

# Jetson Linux -> JetPack, by major release (facts of NVIDIA's archive).
JETPACK_OF_L4T = {"32": "4", "35": "5", "36": "6", "38": "7", "39": "7"}
ARITHMETIC_FLAGS = re.compile(r"avx|fma|f16c|amx|sse4|neon|asimd|sve|sme\d?$|i8mm|bf16|fphp")
_ROOT = Path("/")


def describe_device(root: Path = _ROOT) -> Device:
    """Describe the device before anything runs on it. Its name is the board's or the processor's, never the host's."""
    l4t = l4t_release(root)
    cuda = re.search(r'"cuda"\s*:\s*\{[^}]*"version"\s*:\s*"([\d.]+)"', _text(root / "usr/local/cuda/version.json"))
    return Device(
        name=_first_line(root / "proc/device-tree/model") or processor_name(root),
        soc=_first_line(root / "proc/device-tree/compatible"),
        os=f"{platform.system()} {'.'.join(platform.release().split('.')[:2])} {platform.machine()}",
        cores=usable_cores() or os.cpu_count(),
        cpu_flags=sorted(flag for flag in cpu_flags(root) if ARITHMETIC_FLAGS.match(flag)),
        jetpack=None if l4t is None else f"{JETPACK_OF_L4T.get(l4t.split('.')[0], 'unknown')} (L4T {l4t})",
        cuda=cuda[1] if cuda else None,
        tensorrt=next((found.version for found in distributions(name="tensorrt")), None),
        power_mode=power_mode(root),
    )


def is_this_jetson(target: str, root: Path = _ROOT) -> bool:
    """Say whether a target is the Jetson at hand, for which engines can be built here.

    Raises UserError on a Jetson that is another one, or in another power mode, than `NAME@MODE` says.
    """
    name, _, mode = target.partition("@")
    board = identify(root)
    if not name.startswith("jetson") or (l4t_release(root) is None and not (board or "").startswith("jetson")):
        return False
    if board not in (None, name):
        raise UserError(f"this board is {board}, not {name}: give --target {board}")
    now = power_mode(root)
    if mode not in ("", now):
        raise UserError(f"this board is in power mode {now}, not {mode}: sudo nvpmodel -m ID (docs/jetson.md)")
    return True


def power_mode(root: Path = _ROOT) -> str | None:
    """Return nvpmodel's mode by its name: its status has a number, its configuration the names."""
    status = re.search(r"pmode:(\d+)", _text(root / "var/lib/nvpmodel/status"))
    config = _text(root / "etc/nvpmodel.conf")
    modes = {int(number): name for number, name in re.findall(r"POWER_MODEL\s+ID=(\d+)\s+NAME=(\w+)", config)}
    return modes.get(int(status[1])) if status else None


def hottest_c() -> float | None:
    """Return the temperature of the hottest sensor; None where there is none, or not on Linux."""
    if not hasattr(psutil, "sensors_temperatures"):
        return None
    return max((one.current for chip in psutil.sensors_temperatures().values() for one in chip), default=None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _first_line(path: Path) -> str | None:
    """Return the first text of a device tree's file, which ends its texts with zero bytes."""
    return _text(path).split("\0")[0].strip() or None
