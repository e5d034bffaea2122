"""Tables from outside (TOML, JSON) into frozen dataclasses: known keys alone, each value of its type and sane."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

import cattrs

from runtime.errors import unknown_name

MAX_TEXT_CHARACTERS = 4000

T = TypeVar("T")


class BadTable(ValueError):
    """What is wrong, and where, in one line."""


def structure(kind: type[T], content: Any) -> T:
    """Read a dataclass of plain types, tuples, lists, dicts and other such dataclasses from a table.

    Raises BadTable. Nothing is converted but whole numbers to floats; fields without a default must be there.
    """
    try:
        return _CONVERTER.structure(content, kind)
    except cattrs.BaseValidationError as error:
        problem, _, place = cattrs.transform_error(error, format_exception=_problem)[0].rpartition(" @ $")
        raise BadTable(f"{place.lstrip('.')}: {problem}" if place else problem) from None
    except Exception:  # cattrs looks into what is no table before it checks
        raise BadTable("a table of keys and values is expected") from None


def _problem(error: BaseException, _: type | None) -> str:
    match error:
        case cattrs.ForbiddenExtraKeysError():
            key = min(map(str, error.extra_fields))[:40]
            return str(unknown_name("key", key, [field.name for field in fields(error.cl)]))
        case KeyError():
            return "is missing"
        case BadTable():
            return str(error)
    return "a table of keys and values is expected"


def _plain(kind: Any) -> Callable[[Any, Any], Any]:
    def read(value: Any, _: Any) -> Any:
        if kind is float and type(value) is int:
            value = float(value) if abs(value) < 2**63 else math.inf
        if type(value) is not kind:
            raise BadTable(f"must be of type {kind.__name__}")
        if kind is float and not math.isfinite(value):
            raise BadTable("must be finite")
        if kind is str and (len(value) > MAX_TEXT_CHARACTERS or not value.isprintable()):
            raise BadTable("must be a short line of text")
        return value

    return read


_CONVERTER = cattrs.Converter(forbid_extra_keys=True)
for _kind in (str, int, float, bool):
    _CONVERTER.register_structure_hook(_kind, _plain(_kind))
