"""Profiles out of TOML files, strictly: every key known, every value of its type, nothing left unexplained."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin

import cattrs

from targets.profile import FORMATS, PRECISIONS, Target, TargetError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent
MAX_NUMBER = 1e9


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
    target = parse_target(name, tomllib.loads((FOLDER / f"{name}.toml").read_text()))
    return target.in_mode(mode) if mode else target


def parse_target(name: str, content: dict[str, Any]) -> Target:
    """Make a profile from its TOML table; a TargetError names the file and the first key that is wrong."""
    try:
        target = _CONVERTER.structure({**content, "name": name}, Target)
    except cattrs.ClassValidationError as error:
        reasons = cattrs.transform_error(error, path=f"targets/{name}.toml", format_exception=_reason)
        raise TargetError(reasons[0]) from None
    if problem := _contradiction(target):
        raise TargetError(f"{problem} @ targets/{name}.toml")
    return target


def _contradiction(target: Target) -> str | None:
    """What does not fit together."""
    there = {*target.formats, *target.precisions}
    unexplained = {*FORMATS, *PRECISIONS} - there - set(target.absent)
    if unexplained or set(target.absent) & there:
        return f"[absent] says why, for just what is missing: {', '.join(sorted(unexplained))}"
    if ("int8" in target.precisions) != (target.int8_flavour is not None):
        return "int8 and int8_flavour go together"
    modes = (target.power_modes, target.mode, target.power_mode, target.memory_bus_bytes)
    if len(set(map(bool, modes))) > 1:
        return "power_modes, one of them as mode, and memory_bus_bytes go together"
    if ("coreml" in target.formats) != (target.deployment_target is not None):
        return "coreml and deployment_target go together"
    return None


def _same_type(value: Any, kind: Any) -> Any:
    """What cattrs would convert, such as '17' to 17, is a mistake; numbers are above 0, texts not empty."""
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind.__name__}")
    if kind in (int, float) and not 0 < value < MAX_NUMBER:
        raise ValueError(f"{value!r} is no number above 0")
    if value == "":
        raise ValueError("this is empty")
    return value


def _tuple_of_list(value: Any, kind: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return tuple(_CONVERTER.structure(part, get_args(kind)[0]) for part in value)


def _reason(error: BaseException, kind: type | None) -> str:
    if isinstance(error, AttributeError):
        return "this is no table"
    own = type(error) in (Exception, TypeError, ValueError)  # cattrs raises a bare Exception for a wrong word
    return str(error) if own else cattrs.v.format_exception(error, kind)


_CONVERTER = cattrs.Converter(forbid_extra_keys=True)
for _kind in (str, int, float, bool):
    _CONVERTER.register_structure_hook(_kind, _same_type)
_CONVERTER.register_structure_hook_func(lambda kind: get_origin(kind) is tuple, _tuple_of_list)
