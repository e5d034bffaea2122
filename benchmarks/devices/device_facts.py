"""What this device is: the facts a record states of it. Whatever the system does not say is None."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.devices.device_reader import read_device, read_files
from benchmarks.measure.conditions import Conditions
from benchmarks.records.record import Clocks, Device
from runtime.errors import UserError
from runtime.machine import cpu_flags, processor_name
from targets import identify

# Jetson Linux -> JetPack, by major release (facts of NVIDIA's archive).
JETPACK_OF_L4T = {"32": "4", "35": "5", "36": "6", "38": "7", "39": "7"}
ARITHMETIC_FLAGS = re.compile(r"avx|fma|f16c|amx|sse4|neon|asimd|sve|sme\d?$|i8mm|bf16|fphp")
_ROOT = Path("/")
_MAX_CHARACTERS = 4096


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_device(root: Path = _ROOT) -> Device:
    """Describe the device before anything runs on it. Its name is the board's or the processor's, never the host's."""
    facts = read_device(root)
    jetpack = None if facts.l4t is None else JETPACK_OF_L4T.get(facts.l4t.split(".")[0], "unknown")
    return Device(
        name=facts.board or processor_name(root),
        soc=_text(root / "proc/device-tree/compatible"),
        os=f"{platform.system()} {'.'.join(platform.release().split('.')[:2])} {platform.machine()}",
        cores=available_cores(),
        cpu_flags=sorted(flag for flag in cpu_flags(root) if ARITHMETIC_FLAGS.match(flag)),
        jetpack=None if jetpack is None else f"{jetpack} (L4T {facts.l4t})",
        cuda=cuda_version(root),
        tensorrt=installed("tensorrt"),
        power_mode=facts.power_mode,
    )


def is_this_jetson(target: str, root: Path = _ROOT) -> bool:
    """Say whether a target is the Jetson at hand, for which engines can be built here.

    Raises UserError on a Jetson that is another one, or in another power mode, than `NAME@MODE` says.
    """
    name, _, mode = target.partition("@")
    facts, board = read_device(root), identify(root)
    if not name.startswith("jetson") or (facts.l4t is None and not (board or "").startswith("jetson")):
        return False
    if board not in (None, name):
        raise UserError(f"this board is {board} ({facts.board}), not {name}: give --target {board}")
    if mode not in ("", facts.power_mode):
        now = facts.power_mode or "unknown"
        raise UserError(f"this board is in power mode {now}, not {mode}: sudo nvpmodel -m ID (docs/jetson.md)")
    return True


def cuda_version(root: Path = _ROOT) -> str | None:
    """Return that of the toolkit, from its own file."""
    text = _text(root / "usr/local/cuda/version.json") or ""
    found = re.search(r'"cuda"\s*:\s*\{[^}]*"version"\s*:\s*"([\d.]+)"', text)
    return found[1] if found else None


def installed(package: str) -> str | None:
    """Return a package's version."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def clocks_of(conditions: Sequence[Conditions], root: Path = _ROOT) -> Clocks:
    """Return the lowest and highest frequencies over some blocks."""

    def extremes(seen: Sequence[float | None]) -> list[float]:
        known = [mhz for mhz in seen if mhz is not None]
        return [min(known), max(known)] if known else []

    return Clocks(
        cpu_mhz=extremes([block.cpu_mhz for block in conditions]),
        gpu_mhz=extremes([block.gpu_mhz for block in conditions]),
        locked=read_files(root).locked,
    )


def _text(path: Path) -> str | None:
    """Return the first text of a file, on one line; the device tree ends its texts with a zero byte."""
    try:
        text = path.read_text(errors="replace")[:_MAX_CHARACTERS].split("\0", 1)[0]
    except OSError:
        return None
    return "".join(c for c in text if c.isprintable()).strip() or None
