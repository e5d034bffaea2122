"""The graph contract: what a model file takes, gives, and says of itself.

Hand axis everywhere: [right, left]. Camera axes: x right, y down, z away.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from runtime.errors import UserError

METADATA_KEY = "er_edge"  # of the JSON passport in the file's metadata
INPUT_NAME = "image"
HAND_AXIS = ("right", "left")

_OUTPUTS: dict[str, tuple[tuple[int, ...], str]] = {
    "rotation6d": ((1, 2, 16, 6), "first two columns of each rotation matrix, MANO joint order"),
    "shape": ((1, 2, 10), "shape coefficients of the hand model"),
    "camera": ((1, 2, 3), "scale, tx, ty: wrist-relative joints (m) to crop pixels / S"),
    "joints_image": ((1, 2, 21, 3), "x, y in map cells (centre of cell i is i), z in depth bins"),
    "relative_translation": ((1, 3), "left wrist minus right wrist, m"),
    "presence": ((1, 2), "logit"),
}
OUTPUT_SHAPES = {name: shape for name, (shape, _) in _OUTPUTS.items()}
OUTPUT_UNITS = {name: {"shape": list(shape), "unit": unit} for name, (shape, unit) in _OUTPUTS.items()}

_HOW_TO_EXPORT = "export it with python compress/export.py"
_MAX_METADATA_CHARACTERS = 2**20
_MAX_TEXT_CHARACTERS = 200
_MIN_INPUT_PX, _MAX_INPUT_PX = 32, 1024
_MAX_MAP_CELLS = 256
_MAX_DEPTH_RANGE_M = 10.0


@dataclass(frozen=True)
class Heatmap:
    """What turns the graph's `joints_image` into fractions of the crop and metres."""

    depth: int  # bins
    height: int  # cells
    width: int  # cells
    depth_range_m: float  # the bins span this, centred on the wrist


@dataclass(frozen=True)
class ModelInfo:
    """What the runtime needs to know of a model, from its passport."""

    variant: str
    precision: str
    input_px: int  # S
    heatmap: Heatmap
    hand_model_name: str
    hand_model_sha256: str
    dataset: str  # that its accuracy was measured on
    synthetic: bool  # whether that data set is synthetic


class _BadPassport(Exception):
    """What is wrong with a passport."""


def input_shape(input_px: int) -> tuple[int, int, int, int]:
    """NCHW."""
    return (1, 3, input_px, input_px)


def parse_passport(text: str | None, source: str) -> ModelInfo:
    """Read the JSON passport of the model called `source`; None is a missing one. The text is not trusted."""
    if not text:
        raise UserError(f"{source} has no '{METADATA_KEY}' metadata, so it is not usable: {_HOW_TO_EXPORT}")
    try:
        if len(text) > _MAX_METADATA_CHARACTERS:
            raise _BadPassport("it is too long")
        try:
            facts = json.loads(text)
        except (ValueError, RecursionError):
            raise _BadPassport("it is not JSON") from None
        return _model_info(_object(facts, "the passport"))
    except _BadPassport as problem:
        raise UserError(f"{source}: unusable '{METADATA_KEY}' metadata: {problem}; {_HOW_TO_EXPORT} again") from None


def _model_info(facts: dict[str, Any]) -> ModelInfo:
    heatmap = _object(facts.get("heatmap"), "heatmap")
    hand_model = _object(facts.get("hand_model"), "hand_model")
    sha256 = _text(hand_model, "sha256").lower()
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise _BadPassport("hand_model sha256 is not 64 hexadecimal digits")
    dataset = _text(facts, "dataset")
    synthetic = facts.get("synthetic", "synthetic" in dataset.lower())
    if not isinstance(synthetic, bool):
        raise _BadPassport("synthetic is neither true nor false")
    return ModelInfo(
        variant=_text(facts, "variant"),
        precision=_text(facts, "precision"),
        input_px=_integer(facts, "input_px", _MIN_INPUT_PX, _MAX_INPUT_PX),
        heatmap=Heatmap(
            depth=_integer(heatmap, "depth", 1, _MAX_MAP_CELLS),
            height=_integer(heatmap, "height", 1, _MAX_MAP_CELLS),
            width=_integer(heatmap, "width", 1, _MAX_MAP_CELLS),
            depth_range_m=_positive(heatmap, "depth_range_m", _MAX_DEPTH_RANGE_M),
        ),
        hand_model_name=_text(hand_model, "name"),
        hand_model_sha256=sha256,
        dataset=dataset,
        synthetic=synthetic,
    )


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _BadPassport(f"{what} is not a JSON object")
    return value


def _text(facts: dict[str, Any], key: str) -> str:
    value = facts.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT_CHARACTERS or not value.isprintable():
        raise _BadPassport(f"{key} is not a short printable text")
    return value


def _integer(facts: dict[str, Any], key: str, low: int, high: int) -> int:
    value = facts.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise _BadPassport(f"{key} is not an integer from {low} to {high}")
    return value


def _positive(facts: dict[str, Any], key: str, high: float) -> float:
    value = facts.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= high:  # nor nan
        raise _BadPassport(f"{key} is not a number above 0 and up to {high:g}")
    return float(value)
