"""Profiles out of TOML files."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import cattrs

from targets.profile import Target, TargetError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent
_CONVERTER = cattrs.Converter(forbid_extra_keys=True)


def target_names() -> list[str]:
    """Return the names of all profiles that are files."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_target(name: str) -> Target:
    """Read the profile `NAME` or `NAME@MODE`; a TargetError with the nearest name where there is none."""
    name, _, mode = name.partition("@")
    names = target_names()
    if name not in names:
        near = get_close_matches(name, names, n=1, cutoff=0.3)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise TargetError(f"unknown target '{name}'{hint} (there are {', '.join(names)}, this-machine)")
    target = parse_target(name, tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8")))
    return target.in_mode(mode) if mode else target


def parse_target(name: str, content: dict[str, Any]) -> Target:
    """Make a profile from its TOML table; a TargetError names the file and the first key that is wrong."""
    try:
        return _CONVERTER.structure({**content, "name": name}, Target)
    except cattrs.ClassValidationError as error:
        raise TargetError(cattrs.transform_error(error, path=f"targets/{name}.toml")[0]) from None
