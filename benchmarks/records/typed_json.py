"""JSON from outside into frozen dataclasses: every field named, of its type, of a sane size; nothing more."""

from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

MAX_TEXT_CHARACTERS = 4000
MAX_ITEMS = 10_000

T = TypeVar("T")


class BadJson(ValueError):
    """What is wrong, in one line."""


def load_json(text: str) -> Any:
    """Parse JSON as its standard has it: no NaN, no Infinity."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except BadJson:
        raise
    except (ValueError, RecursionError):
        raise BadJson("it is not JSON") from None


def _refuse_constant(name: str) -> None:
    raise BadJson(f"{name} is no JSON number")


def typed(kind: type[T], value: Any) -> T:
    """`value`, out of JSON, as the dataclass `kind`, whose fields are plain types, lists or dicts of them, other such
    dataclasses, or any of these or None. A BadJson names the first field that is wrong."""
    result: T = _parse(kind, value, "")
    return result


def _parse(kind: Any, value: Any, where: str) -> Any:
    if isinstance(kind, UnionType):
        (given,) = (option for option in get_args(kind) if option is not NoneType)
        return None if value is None else _parse(given, value, where)
    if is_dataclass(kind):
        return _parse_dataclass(kind, value, where)
    origin = get_origin(kind)
    if origin in (list, dict):
        if not isinstance(value, origin) or len(value) > MAX_ITEMS:
            raise BadJson(f"{where} is not a {'list' if origin is list else 'JSON object'} of a sane length")
        item = get_args(kind)[-1]
        if origin is list:
            return [_parse(item, one, f"{where}[{index}]") for index, one in enumerate(value)]
        return {_parse(str, key, where): _parse(item, one, f"{where}.{key[:40]}") for key, one in value.items()}
    return _parse_plain(kind, value, where)


def _parse_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise BadJson(f"{where or 'it'} is not a JSON object")
    names = {field.name for field in fields(kind)}
    inside = f"{where}." if where else ""
    if odd := sorted(set(value) - names):
        raise BadJson(f"unknown field {inside}{odd[0][:40]!r}")
    if missing := sorted(names - set(value)):
        raise BadJson(f"{inside}{missing[0]} is missing")
    hints = get_type_hints(kind)
    return kind(
        **{field.name: _parse(hints[field.name], value[field.name], inside + field.name) for field in fields(kind)}
    )


def _parse_plain(kind: type, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**63 else math.inf
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise BadJson(f"{where} is {str(value)[:40]!r}, not {kind.__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise BadJson(f"{where} is not finite")
    if isinstance(value, str) and (len(value) > MAX_TEXT_CHARACTERS or not value.isprintable()):
        raise BadJson(f"{where} is not a short line of text")
    return value
