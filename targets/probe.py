"""The machine at hand as a profile, by its device tree and by its CPU's instructions, which the caller brings."""

from __future__ import annotations

import importlib.util
import os
import platform
from collections.abc import Set
from dataclasses import replace
from pathlib import Path

from targets.profile import Target
from targets.read import read_target, target_names

THIS_MACHINE = "this-machine"
VNNI_FLAGS = ("avx512_vnni", "avx_vnni")
DOT_PRODUCT_FLAG = "asimddp"
_ROOT = Path("/")


def identify(root: Path = _ROOT) -> str | None:
    """Return the profile of the board this runs on, by its device tree; None for any other machine."""
    try:
        compatible = (root / "proc/device-tree/compatible").read_bytes().decode("ascii", "replace")
    except OSError:
        return None
    parts = set(compatible.replace("+", "\0").replace("nvidia,", "").replace("-super", "").split("\0"))
    return next((name for name in target_names() if parts & set(read_target(name).compatible)), None)


def nearest_profile(cpu_flags: Set[str], root: Path = _ROOT) -> str:
    """Return the profile this machine is taken for: its board's, else that of a CPU with the same int8 arithmetic."""
    if board := identify(root):
        return board
    if platform.machine().lower() in ("aarch64", "arm64"):  # macOS lists no flags: its CPUs have dot products
        return "raspberry-pi-5" if DOT_PRODUCT_FLAG in cpu_flags or not cpu_flags else "raspberry-pi-4"
    return "x86-64-vnni" if cpu_flags & set(VNNI_FLAGS) else "x86-64-avx2"


def this_machine(cpu_flags: Set[str], root: Path = _ROOT) -> Target:
    """Return a profile of the machine at hand. Nothing is measured: only a board's has figures."""
    name = nearest_profile(cpu_flags, root)
    base = read_target(name)
    target = replace(
        base,
        name=THIS_MACHINE,
        description=f"{os.cpu_count() or 1} cores of {platform.machine()}, taken for {name}",
        figures=base.figures if identify(root) else {},
    )
    if "tensorrt" not in base.formats or importlib.util.find_spec("tensorrt") is not None:
        return target
    missing = "Python finds no tensorrt: it comes with JetPack (python3 -m venv --system-site-packages)"
    formats = tuple(format for format in base.formats if format != "tensorrt")
    return replace(target, formats=formats, absent={**base.absent, "tensorrt": missing})
