"""Profiles by name: out of TOML files, or of the machine at hand."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cattrs

from runtime.errors import UserError, unknown_name
from runtime.machine import cpu_flags
from targets.profile import Target

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent
THIS_MACHINE = "this-machine"
VNNI_FLAGS = ("avx512_vnni", "avx_vnni")
DOT_PRODUCT_FLAG = "asimddp"
_ROOT = Path("/")
_CONVERTER = cattrs.Converter(forbid_extra_keys=True)


def target_names() -> list[str]:
    """Return the names of all profiles that are files."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_target(name: str) -> Target:
    """Return the profile `NAME`, `NAME@MODE` for one power mode, or `this-machine`; a UserError where there is none."""
    if name == THIS_MACHINE:
        return this_machine()
    name, _, mode = name.partition("@")
    if name not in target_names():
        raise unknown_name("target", name, [*target_names(), THIS_MACHINE])
    target = parse_target(name, tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8")))
    modes = [known.name for known in target.power_modes]
    if mode and mode not in modes:
        raise UserError(f"{name} has no power mode '{mode}' (there are {', '.join(modes) or 'none'})")
    return replace(target, mode=mode) if mode else target


def parse_target(name: str, content: dict[str, Any]) -> Target:
    """Make a profile from its TOML table; a UserError names the file and the first key that is wrong."""
    try:
        return _CONVERTER.structure({**content, "name": name}, Target)
    except cattrs.ClassValidationError as error:
        raise UserError(cattrs.transform_error(error, path=f"targets/{name}.toml")[0]) from None


def identify(root: Path = _ROOT) -> str | None:
    """Return the profile of the board this runs on, by its device tree; None for any other machine."""
    try:
        compatible = (root / "proc/device-tree/compatible").read_bytes().decode("ascii", "replace")
    except OSError:
        return None
    parts = set(compatible.replace("+", "\0").replace("nvidia,", "").replace("-super", "").split("\0"))
    return next((name for name in target_names() if parts & set(read_target(name).compatible)), None)


def this_machine(root: Path = _ROOT) -> Target:
    """Return the profile of the board, else that of a CPU with the same int8 arithmetic, without figures."""
    board = identify(root)
    name = board or _nearest_cpu(cpu_flags(root))
    base = read_target(name)
    description = f"{os.cpu_count() or 1} cores of {platform.machine()}, taken for {name}"
    return replace(base, name=THIS_MACHINE, description=description, figures=base.figures if board else {})


def _nearest_cpu(flags: frozenset[str]) -> str:
    if platform.machine().lower() in ("aarch64", "arm64"):  # macOS lists no flags: its CPUs have dot products
        return "raspberry-pi-5" if DOT_PRODUCT_FLAG in flags or not flags else "raspberry-pi-4"
    return "x86-64-vnni" if flags & set(VNNI_FLAGS) else "x86-64-avx2"
