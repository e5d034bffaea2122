"""What each device can do, as data: one TOML file per profile, read into a typed record."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent


class TargetError(ValueError):
    """An unknown profile, or one that cannot be read; the message is one line."""


@dataclass(frozen=True)
class Target:
    """One device profile."""

    name: str
    description: str
    source: str  # where its figures come from
    formats: tuple[str, ...]
    precisions: tuple[str, ...]
    int8_saturates: bool  # uint8 x int8 products are summed in 16 bits, which overflow: weights must keep to 7 bits
    int8_speedup_peak: float | None  # of int8 over fp32 products, or null where nobody measured it


def target_names() -> list[str]:
    """All profiles."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_target(name: str) -> Target:
    """The profile of that name; a TargetError with the nearest name where there is none."""
    names = target_names()
    if name not in names:
        near = get_close_matches(name, names, n=1, cutoff=0.3)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise TargetError(f"unknown target '{name}'{hint} (there are {', '.join(names)})")
    return parse_target(name, tomllib.loads((FOLDER / f"{name}.toml").read_text()))


def parse_target(name: str, content: dict[str, Any]) -> Target:
    """A profile from its TOML table. `int8_speedup_peak` may be absent; every other key must be there, and no other."""
    content = {"int8_speedup_peak": None, **content, "name": name}
    known = {field.name for field in fields(Target)}
    if odd := sorted(set(content) ^ known):
        raise TargetError(f"target {name}: {', '.join(odd)} missing or unknown")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
    return Target(**values)
