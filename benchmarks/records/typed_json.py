"""JSON from outside into frozen dataclasses: known fields alone, each of its type, numbers finite, texts short."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, TypeVar

import cattrs

MAX_TEXT_CHARACTERS = 4000

T = TypeVar("T")


class BadJson(ValueError):
    """What is wrong, in one line."""


def parse_json(kind: type[T], text: str) -> T:
    """Read a dataclass of plain types, lists, dicts and other such dataclasses. A BadJson names what is wrong.

    Fields without a default must be there.
    """
    try:
        return _CONVERTER.structure(json.loads(text), kind)
    except cattrs.BaseValidationError as error:
        first = cattrs.transform_error(error, format_exception=_reason)[0]
        raise BadJson(first.replace(" @ $.", " at ").removesuffix(" @ $")) from None
    except Exception:  # of json; and cattrs looks into what is no object before it checks
        raise BadJson("it is not a JSON object") from None


def _reason(error: BaseException, kind: type | None) -> str:
    if isinstance(error, KeyError):
        return "a field is missing"
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        return f"unknown field {sorted(map(str, error.extra_fields))[0][:40]!r}"
    return str(error) if isinstance(error, BadJson) else f"this is no {getattr(kind, '__name__', 'such value')}"


def _plain(kind: Any) -> Callable[[Any, Any], Any]:
    """Make a reader that converts nothing but whole numbers into floats."""

    def read(value: Any, _: Any) -> Any:
        if kind is float and type(value) is int:
            value = float(value) if abs(value) < 2**63 else math.inf
        if type(value) is not kind:
            raise BadJson(f"{str(value)[:40]!r} is not {kind.__name__}")
        if kind is float and not math.isfinite(value):
            raise BadJson("the number is not finite")
        if kind is str and (len(value) > MAX_TEXT_CHARACTERS or not value.isprintable()):
            raise BadJson("it is not a short line of text")
        return value

    return read


_CONVERTER = cattrs.Converter(forbid_extra_keys=True)
_PLAIN: tuple[Any, ...] = (str, int, float, bool)
for _kind in _PLAIN:
    _CONVERTER.register_structure_hook(_kind, _plain(_kind))
