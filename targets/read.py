"""Profiles out of TOML files, strictly: every key known, every value of its type, nothing left unexplained."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from targets.profile import (
    DEPLOYMENT_TARGETS,
    FIGURES,
    FORMATS,
    INT8_FLAVOURS,
    KINDS,
    PRECISIONS,
    Figure,
    PowerMode,
    Target,
    TargetError,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent


def target_names() -> list[str]:
    """All profiles that are files."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_target(name: str) -> Target:
    """The profile `NAME` or `NAME@MODE`; a TargetError with the nearest name where there is none."""
    name, _, mode = name.partition("@")
    names = target_names()
    if name not in names:
        near = get_close_matches(name, names, n=1, cutoff=0.3)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise TargetError(f"unknown target '{name}'{hint} (there are {', '.join(names)}, this-machine)")
    target = parse_target(name, tomllib.loads((FOLDER / f"{name}.toml").read_text()))
    return target.in_mode(mode) if mode else target


def parse_target(name: str, content: dict[str, Any]) -> Target:
    """A profile from its TOML table; a TargetError names the first thing that is wrong."""
    table = _Table(f"target {name}", content)
    modes = tuple(_power_mode(table.where, entry) for entry in table.list_of_tables("power_modes"))
    default = table.optional("default_power_mode", str)
    figures = {key: _figure(f"{table.where}: {key}", value) for key, value in table.table("figures").items()}
    if odd := sorted(set(figures) - set(FIGURES)):
        raise TargetError(f"{table.where}: unknown figures {', '.join(odd)}")
    target = Target(
        name=name,
        description=table.required("description", str),
        kind=table.one_of("kind", KINDS),
        formats=table.some_of("formats", FORMATS),
        precisions=table.some_of("precisions", PRECISIONS),
        int8_flavour=table.one_of("int8_flavour", INT8_FLAVOURS) if "int8_flavour" in content else None,
        int8_saturates=table.optional("int8_saturates", bool) or False,
        opset_max=table.required("opset_max", int),
        python=table.texts("python"),
        tensorrt=table.texts("tensorrt"),
        compute_capability=table.optional("compute_capability", str),
        deployment_target=table.one_of("deployment_target", DEPLOYMENT_TARGETS)
        if "deployment_target" in content
        else None,
        compatible=table.texts("compatible"),
        memory_bus_bytes=table.optional("memory_bus_bytes", int),
        absent={key: _text(f"{table.where}: absent.{key}", value) for key, value in table.table("absent").items()},
        figures=figures,
        power_modes=modes,
    )
    table.finish()
    _check(table.where, target, default)
    return target.in_mode(default) if default else target


def _check(where: str, target: Target, default: str | None) -> None:
    """What must fit together."""
    if ("int8" in target.precisions) != (target.int8_flavour is not None):
        raise TargetError(f"{where}: int8 and int8_flavour go together")
    unexplained = {*FORMATS, *PRECISIONS} - {*target.formats, *target.precisions} - set(target.absent)
    if unexplained or set(target.absent) & {*target.formats, *target.precisions}:
        raise TargetError(f"{where}: [absent] says why, for just what is missing: {', '.join(sorted(unexplained))}")
    if odd := sorted(set(target.absent) - {*FORMATS, *PRECISIONS}):
        raise TargetError(f"{where}: unknown in [absent]: {', '.join(odd)}")
    if bool(target.power_modes) != (default is not None) or bool(target.power_modes) != bool(target.memory_bus_bytes):
        raise TargetError(f"{where}: power_modes, default_power_mode and memory_bus_bytes go together")
    if ("coreml" in target.formats) != (target.deployment_target is not None):
        raise TargetError(f"{where}: coreml and deployment_target go together")


class _Table:
    """A TOML table whose keys are read once each, with types; what is left over is an error."""

    def __init__(self, where: str, content: dict[str, Any]) -> None:
        self.where = where
        self._left = dict(content)

    def required(self, key: str, kind: type) -> Any:
        if self._left.get(key) is None:
            raise TargetError(f"{self.where}: {key} is missing")
        return self.optional(key, kind)

    def optional(self, key: str, kind: type) -> Any:
        value = self._left.pop(key, None)
        if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise TargetError(f"{self.where}: {key} is {value!r}, not {kind.__name__}")
        return value

    def one_of(self, key: str, known: tuple[str, ...]) -> str:
        value: str = self.required(key, str)
        if value not in known:
            raise TargetError(f"{self.where}: {key} is '{value}' (there are {', '.join(known)})")
        return value

    def some_of(self, key: str, known: tuple[str, ...]) -> tuple[str, ...]:
        values = tuple(self.required(key, list))
        if not values or any(value not in known for value in values):
            raise TargetError(f"{self.where}: {key} is {list(values)} (there are {', '.join(known)})")
        return values

    def texts(self, key: str) -> tuple[str, ...]:
        values = self.optional(key, list) or []
        return tuple(_text(f"{self.where}: {key}", value) for value in values)

    def table(self, key: str) -> dict[str, Any]:
        return self.optional(key, dict) or {}

    def list_of_tables(self, key: str) -> list[dict[str, Any]]:
        values = self.optional(key, list) or []
        if any(not isinstance(value, dict) for value in values):
            raise TargetError(f"{self.where}: {key} is not a list of tables")
        return values

    def finish(self) -> None:
        if self._left:
            raise TargetError(f"{self.where}: unknown keys {', '.join(sorted(self._left))}")


def _text(where: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TargetError(f"{where} is {value!r}, not a text")
    return value


def _figure(where: str, value: object) -> Figure:
    if not isinstance(value, dict) or set(value) != {"value", "source"}:
        raise TargetError(f"{where} is not a table of value and source")
    return Figure(_positive(f"{where}.value", value["value"]), _text(f"{where}.source", value["source"]))


def _positive(where: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
        raise TargetError(f"{where} is {value!r}, not a number above 0")
    return float(value)


def _power_mode(where: str, value: dict[str, Any]) -> PowerMode:
    table = _Table(f"{where}: power mode {value.get('name')}", value)
    mode = PowerMode(
        name=table.required("name", str),
        gpu_mhz=_positive(f"{table.where}: gpu_mhz", value.get("gpu_mhz")),
        tpcs=table.required("tpcs", int),
        memory_mhz=_positive(f"{table.where}: memory_mhz", value.get("memory_mhz")),
        source=table.required("source", str),
    )
    table.optional("gpu_mhz", object)
    table.optional("memory_mhz", object)
    table.finish()
    return mode
