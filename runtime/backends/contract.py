"""The contract of every model file, whatever engine runs it: what it takes, gives, and says of itself.

Hand axis everywhere: [right, left]. Camera axes: x right, y down, z away.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError, first_line

Number = TypeVar("Number", int, float)
Outputs = dict[str, NDArray[np.float32]]  # names and shapes: OUTPUT_SHAPES

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


def input_shape(input_px: int) -> tuple[int, int, int, int]:
    """Return the shape of the graph's input, NCHW."""
    return (1, 3, input_px, input_px)


def float32_tensor(shape: tuple[int, ...]) -> str:
    """Describe a tensor as `check_signature` compares it."""
    return f"float32 {list(shape)}"


def check_signature(takes: Mapping[str, str], gives: Mapping[str, str], input_px: int, source: str) -> None:
    """Raise a UserError unless a graph's inputs and outputs, name -> description, are the contract's."""
    if set(takes) != {INPUT_NAME}:
        names = ", ".join(map(repr, takes))[:_MAX_TEXT_CHARACTERS] or "nothing"
        raise UserError(f"{source} takes {names}, not '{INPUT_NAME}': {_HOW_TO_EXPORT}")
    missing = [name for name in OUTPUT_SHAPES if name not in gives]
    if missing:
        raise UserError(f"{source} does not give {', '.join(missing)}: {_HOW_TO_EXPORT}")
    found = {INPUT_NAME: takes[INPUT_NAME], **gives}
    for name, shape in {INPUT_NAME: input_shape(input_px), **OUTPUT_SHAPES}.items():
        if found[name] != float32_tensor(shape):
            what = found[name][:_MAX_TEXT_CHARACTERS]
            raise UserError(f"{source}: '{name}' is {what}, not {float32_tensor(shape)}: export it again")


def parse_passport(text: str | None, source: str) -> ModelInfo:
    """Read the JSON passport of the model called `source`; None is a missing one. The text is not trusted."""
    if not text:
        raise UserError(f"{source} has no '{METADATA_KEY}' metadata, so it is not usable: {_HOW_TO_EXPORT}")
    try:
        if len(text) > _MAX_METADATA_CHARACTERS:
            raise ValueError("it is too long")
        return _model_info(json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError) as problem:
        what = f"unusable '{METADATA_KEY}' metadata: {first_line(problem)}"
        raise UserError(f"{source}: {what}; {_HOW_TO_EXPORT} again") from None


def _model_info(facts: dict[str, Any]) -> ModelInfo:
    heatmap, hand_model, dataset = facts["heatmap"], facts["hand_model"], _text(facts, "dataset")
    sha256 = _text(hand_model, "sha256").lower()
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError("hand_model sha256 is not 64 hexadecimal digits")
    synthetic = facts.get("synthetic", "synthetic" in dataset.lower())
    if not isinstance(synthetic, bool):
        raise ValueError("synthetic is neither true nor false")
    depth, height, width = (_number(heatmap, key, int, 1, _MAX_MAP_CELLS) for key in ("depth", "height", "width"))
    return ModelInfo(
        variant=_text(facts, "variant"),
        precision=_text(facts, "precision"),
        input_px=_number(facts, "input_px", int, _MIN_INPUT_PX, _MAX_INPUT_PX),
        heatmap=Heatmap(depth, height, width, _number(heatmap, "depth_range_m", float, 1e-3, _MAX_DEPTH_RANGE_M)),
        hand_model_name=_text(hand_model, "name"),
        hand_model_sha256=sha256,
        dataset=dataset,
        synthetic=synthetic,
    )


def _text(facts: dict[str, Any], key: str) -> str:
    value = facts[key]
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT_CHARACTERS or not value.isprintable():
        raise ValueError(f"{key} is not a short printable text")
    return value


def _number(facts: dict[str, Any], key: str, kind: type[Number], low: float, high: float) -> Number:
    value = facts[key]
    if isinstance(value, bool) or not isinstance(value, (int, kind)) or not low <= value <= high:  # nor nan
        raise ValueError(f"{key} is not {'an integer' if kind is int else 'a number'} from {low:g} to {high:g}")
    return kind(value)
