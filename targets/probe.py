"""The machine at hand as a profile: what Linux says of it. Nothing is measured, so it has no peaks of its own."""

from __future__ import annotations

import importlib.util
import os
import platform
from dataclasses import replace
from pathlib import Path

from targets.profile import Figure, Target
from targets.read import read_target, target_names

THIS_MACHINE = "this-machine"
VNNI_FLAGS = ("avx512_vnni", "avx_vnni")
DOT_PRODUCT_FLAG = "asimddp"


def identify(root: Path = Path("/")) -> str | None:
    """The profile of the board this runs on, by its device tree; None for any other machine."""
    try:
        compatible = (root / "proc/device-tree/compatible").read_bytes().decode("ascii", "replace")
    except OSError:
        return None
    parts = set(compatible.replace("+", "\0").replace("nvidia,", "").replace("-super", "").split("\0"))
    return next((name for name in target_names() if parts & set(read_target(name).compatible)), None)


def this_machine(root: Path = Path("/")) -> Target:
    """A profile of the machine at hand: its board's where there is one for it, else of its CPU's instructions."""
    board = identify(root)
    name = nearest_profile(root)
    base = read_target(name)
    cores = os.cpu_count() or 1
    figures = dict(base.figures) if board else {}
    memory = memory_gb(root)
    if memory is not None:
        figures["memory_gb"] = Figure(memory, "MemTotal of /proc/meminfo")
    has_tensorrt = "tensorrt" in base.formats and importlib.util.find_spec("tensorrt") is not None
    absent = dict(base.absent)
    formats = base.formats
    if "tensorrt" in base.formats and not has_tensorrt:
        formats = tuple(name for name in formats if name != "tensorrt")
        absent["tensorrt"] = "Python finds no tensorrt: it comes with JetPack (python3 -m venv --system-site-packages)"
    return replace(
        base,
        name=THIS_MACHINE,
        description=f"{cores} cores of {platform.machine()}, taken for {name}",
        formats=formats,
        absent=absent,
        python=(".".join(platform.python_version_tuple()[:2]),),
        figures=figures,
    )


def nearest_profile(root: Path = Path("/")) -> str:
    """The profile this machine is taken for: its board's, else that of its CPU's instructions."""
    return identify(root) or _nearest_cpu(cpu_flags(root))


def cpu_flags(root: Path = Path("/")) -> frozenset[str]:
    """Instruction-set flags as Linux lists them; empty where it does not."""
    try:
        lines = (root / "proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return frozenset()
    found = next((line for line in lines if line.startswith(("flags", "Features"))), ":")
    return frozenset(found.split(":", 1)[1].split())


def memory_gb(root: Path = Path("/")) -> float | None:
    """All of it, in 10^9 bytes."""
    try:
        first = (root / "proc/meminfo").read_text().splitlines()[0].split()
    except (OSError, IndexError):
        return None
    return round(int(first[1]) * 1024 / 1e9, 1) if first[0] == "MemTotal:" else None


def _nearest_cpu(flags: frozenset[str]) -> str:
    """The CPU profile whose int8 arithmetic this one has. macOS lists no flags: its Arm CPUs have dot products."""
    if platform.machine().lower() in ("aarch64", "arm64"):
        return "raspberry-pi-5" if DOT_PRODUCT_FLAG in flags or not flags else "raspberry-pi-4"
    return "x86-64-vnni" if flags & set(VNNI_FLAGS) else "x86-64-avx2"
