"""What this device is: the facts a record states of it. Whatever the system does not say is None."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.devices import tegra
from benchmarks.measure.conditions import Conditions
from benchmarks.records.record import Clocks, Device
from runtime.machine import processor_name
from targets.probe import cpu_flags

_ROOT = Path("/")
ARITHMETIC_FLAGS = re.compile(r"avx|fma|f16c|amx|sse4|neon|asimd|sve|sme\d?$|i8mm|bf16|fphp")
_MAX_BYTES = 4096


def available_cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_device(root: Path = _ROOT) -> Device:
    """The device before anything runs on it. Its name is the board's or the processor's, never the host's."""
    board = tegra.read_board(root)
    return Device(
        name=_text(root / "proc/device-tree/model") or processor_name(),
        soc=_text(root / "proc/device-tree/compatible"),
        os=f"{platform.system()} {'.'.join(platform.release().split('.')[:2])} {platform.machine()}",
        cores=available_cores(),
        cpu_flags=sorted(flag for flag in cpu_flags(root) if ARITHMETIC_FLAGS.match(flag)),
        jetpack=None if board is None else f"{board.jetpack or 'unknown'} (L4T {board.l4t})",
        cuda=cuda_version(root),
        tensorrt=installed("tensorrt"),
        power_mode=None if board is None else tegra.power_mode(root),
    )


def cuda_version(root: Path = _ROOT) -> str | None:
    """Of the toolkit, from its own file."""
    text = _text(root / "usr/local/cuda/version.json") or ""
    found = re.search(r'"cuda"\s*:\s*\{[^}]*"version"\s*:\s*"([\d.]+)"', text)
    return found[1] if found else None


def installed(package: str) -> str | None:
    """A package's version."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def clocks_of(conditions: Sequence[Conditions], root: Path = _ROOT) -> Clocks:
    """Lowest and highest frequencies over some blocks."""

    def extremes(seen: Sequence[float | None]) -> list[float]:
        known = [mhz for mhz in seen if mhz is not None]
        return [min(known), max(known)] if known else []

    return Clocks(
        cpu_mhz=extremes([block.cpu_mhz for block in conditions]),
        gpu_mhz=extremes([block.gpu_mhz for block in conditions]),
        locked=tegra.clocks(root)["locked"],
    )


def _text(path: Path) -> str | None:
    """The first text of a file; the device tree ends its texts with a zero byte."""
    try:
        text = path.read_bytes()[:_MAX_BYTES].decode("utf-8", "replace").split("\0", 1)[0]
    except OSError:
        return None
    return "".join(c for c in text if c.isprintable()).strip() or None
