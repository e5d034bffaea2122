"""The parametric hand: its model file, and posing it.

A hand model file is an `.npz` without pickle. It holds the right hand, and may hold a left hand of its own under
`left_*` keys; without them the left hand is the right one's mirror image. Rotations follow MANO's convention (16 per
hand, wrist first); joints come out in the project's order (`runtime.hand.joints`). Lengths are metres.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from ..files import read_regular
from .npz import BadFile, Member, read_arrays
from .skinning import Rig, make_rig

EMBEDDED_MODEL = Path(__file__).parents[1] / "assets" / "hand_embedded.npz"

VERTICES = 778
FACES = 1538
SKELETON_JOINTS = 16
SHAPE_SIZE = 10
POSE_FEATURES = (SKELETON_JOINTS - 1) * 9

Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]

_FLOATS = {
    "v_template": Member((VERTICES, 3), "f"),
    "shapedirs": Member((VERTICES, 3, SHAPE_SIZE), "f"),
    "posedirs": Member((VERTICES, 3, POSE_FEATURES), "f"),
    "J_regressor": Member((SKELETON_JOINTS, VERTICES), "f"),
    "weights": Member((VERTICES, SKELETON_JOINTS), "f"),
    "hands_mean": Member(((SKELETON_JOINTS - 1) * 3,), "f"),
}
_INTEGERS = {"parents": Member((SKELETON_JOINTS,), "iu"), "faces": Member((FACES, 3), "iu"), "tips": Member((5,), "iu")}
_ARRAYS = _FLOATS | _INTEGERS
_MEMBERS = {"name": Member((), "U", most_bytes=400), **_ARRAYS, **{f"left_{key}": m for key, m in _ARRAYS.items()}}
_SAME_ON_BOTH_SIDES = ("parents", "tips")  # a file's left hand may leave these out

_MAX_FILE_BYTES = 64 * 2**20
_WEIGHT_SUM_TOLERANCE = 1e-3
_LARGEST_VALUE = 1e4  # of any array: far beyond any hand, and nothing computed from it overflows
_PLAUSIBLE_EXTENT_M = (0.02, 1.0)  # a template in millimetres or centimetres falls outside

_MIRROR = np.array([-1, 1, 1], np.float32)
_BOTH = np.stack([np.ones(3, np.float32), _MIRROR])  # right, left
_MIRROR_TURNS = (_BOTH[:, :, None] * _BOTH[:, None, :])[:, None]  # (2, 1, 3, 3)
_MIRROR_AXES = _BOTH[:, None, :, None]  # (2, 1, 3, 1)
_SAME_AXES = np.ones((1, 3, 1), np.float32)


@dataclass(frozen=True, eq=False)
class HandModel:
    """One hand of a hand model file; the fields have the file's names."""

    v_template: Float32Array  # (778, 3), m
    shapedirs: Float32Array  # (778, 3, 10), m per unit of shape
    posedirs: Float32Array  # (778, 3, 135), m per unit of (R - I), joints 1..15, row by row
    J_regressor: Float32Array  # (16, 778)
    weights: Float32Array  # (778, 16), rows sum to 1
    parents: IntArray  # (16,), -1 for the wrist
    faces: IntArray  # (1538, 3), counter-clockwise seen from outside
    tips: IntArray  # (5,), vertices: index, middle, pinky, ring, thumb
    hands_mean: Float32Array  # (45,), axis-angle, radians
    name: str
    sha256: str  # of the file
    side: Literal["right", "left"]

    @cached_property
    def rig(self) -> Rig:
        """The model as skinning computes with it."""
        return make_rig(self)


def as_basis(directions: Float32Array) -> Float32Array:
    """(V, 3, N) -> (N, 3 V): a row for each direction."""
    return np.ascontiguousarray(directions.reshape(-1, directions.shape[-1]).T)


def joints_of(model: HandModel, vertices: Float32Array) -> Float32Array:
    """(778, ...) of the vertices -> (16, ...) of the skeleton's joints, in double precision on the way."""
    return np.tensordot(model.J_regressor.astype(np.float64), vertices, axes=1).astype(np.float32)


def skin(model: HandModel, rotations: ArrayLike, shape: ArrayLike) -> tuple[Float32Array, Float32Array]:
    """Pose a hand: vertices (..., 778, 3) and joints (..., 21, 3), metres.

    rotations (..., 16, 3, 3), MANO's joint order, with `hands_mean` added; shape (..., 10). The wrist turns about its
    own joint and nothing is translated: subtract joints[..., :1, :] for wrist-relative coordinates.
    """
    turns, betas = np.asarray(rotations, np.float32), np.asarray(shape, np.float32)
    return model.rig.skin(turns, np.broadcast_to(betas, (*turns.shape[:-3], SHAPE_SIZE)))


def mirror(model: HandModel) -> HandModel:
    """Return the other hand: the mirror image in x, rotations mirrored as MANO does (axis-angle y and z negated)."""
    feature_signs = np.tile(np.outer(_MIRROR, _MIRROR).reshape(-1), SKELETON_JOINTS - 1)
    return replace(
        model,
        v_template=model.v_template * _MIRROR,
        shapedirs=model.shapedirs * _MIRROR[:, None],
        posedirs=model.posedirs * _MIRROR[:, None] * feature_signs,
        faces=np.ascontiguousarray(model.faces[:, ::-1]),
        hands_mean=(model.hands_mean.reshape(-1, 3) * -_MIRROR).reshape(-1),
        side="left" if model.side == "right" else "right",
    )


class HandPair(NamedTuple):
    """The hand models of both sides."""

    right: HandModel
    left: HandModel

    def skin(
        self,
        rotations: Float32Array,
        shape: Float32Array,
        rig: Callable[[HandModel], Rig] = lambda model: model.rig,
    ) -> tuple[Float32Array, Float32Array]:
        """(2, 16, 3, 3), (2, 10) -> vertices (2, 778, 3) and joints (2, 21, 3), m, wrist-relative."""
        if _are_mirrored(*self):  # one call poses both
            return rig(self.right).skin(rotations * _MIRROR_TURNS, shape, _MIRROR_AXES)
        parts = [rig(model).skin(rotations[i], shape[i], _SAME_AXES) for i, model in enumerate(self)]
        vertices, joints = (np.stack(arrays) for arrays in zip(*parts, strict=True))
        return vertices, joints

    def joints(self, rotations: Float32Array, shape: Float32Array) -> Float32Array:
        """The joints that `skin` gives, without the time for vertices."""
        return self.skin(rotations, shape, lambda model: model.rig.of_tips)[1]

    def mesh(self, rotations: Float32Array, shape: Float32Array) -> Callable[[int], Float32Array]:
        """Give the vertices (778, 3) of hand 0 or 1, as `skin` does, both posed when one is first asked for."""
        skinned = cache(lambda: self.skin(rotations, shape)[0])
        return lambda hand: skinned()[hand]


@lru_cache(maxsize=4)
def _are_mirrored(right: HandModel, left: HandModel) -> bool:
    image = mirror(right)
    return all(np.array_equal(getattr(left, key), getattr(image, key)) for key in _ARRAYS if key != "faces")


def load_hand_models(path: Path | None = None) -> HandPair:
    """Read both hands from a hand model file; None is the embedded one. The file is not trusted."""
    path = EMBEDDED_MODEL if path is None else Path(path)
    content = read_regular(path, "a hand model .npz", _MAX_FILE_BYTES)
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        arrays = read_arrays(content, _MEMBERS)
        name = _checked_name(arrays)
        right = HandModel(**_checked_arrays(arrays, ""), name=name, sha256=sha256, side="right")
        if not any(key.startswith("left_") for key in arrays):
            return HandPair(right, mirror(right))
        for key in _SAME_ON_BOTH_SIDES:
            arrays.setdefault(f"left_{key}", arrays[key])
        left = HandModel(**_checked_arrays(arrays, "left_"), name=name, sha256=sha256, side="left")
    except BadFile as problem:
        raise UserError(f"{path} is not a usable hand model: {problem}; convert or build it again") from None
    return HandPair(right, left)


def _checked_name(arrays: dict[str, NDArray[Any]]) -> str:
    with suppress(KeyError, ValueError, UnicodeError, SystemError):
        name = str(arrays["name"][()])
        if name and name.isprintable():
            return name
    raise BadFile("its name is missing, empty or not printable")


def _checked_arrays(arrays: dict[str, NDArray[Any]], prefix: str) -> dict[str, Any]:
    missing = [f"{prefix}{key}" for key in _ARRAYS if f"{prefix}{key}" not in arrays]
    if missing:
        raise BadFile(f"missing {', '.join(missing)}")
    checked: dict[str, Any] = {key: arrays[f"{prefix}{key}"].astype(np.int64, order="C") for key in _INTEGERS}
    with np.errstate(over="ignore", invalid="ignore"):
        for key in _FLOATS:
            checked[key] = arrays[f"{prefix}{key}"].astype(np.float32, order="C")
            if not np.abs(checked[key]).max() <= _LARGEST_VALUE:  # nor nan
                raise BadFile(f"{prefix}{key} holds values that are not finite, or beyond {_LARGEST_VALUE:g}")
    parents = checked["parents"]
    if parents[0] != -1 or (parents[1:] < 0).any() or (parents[1:] >= np.arange(1, SKELETON_JOINTS)).any():
        raise BadFile(f"{prefix}parents is not a tree that starts with -1 and names parents before children")
    for key in ("faces", "tips"):
        if checked[key].min() < 0 or checked[key].max() >= VERTICES:
            raise BadFile(f"{prefix}{key} names vertices outside 0..{VERTICES - 1}")
    sums = checked["weights"].sum(axis=1)
    if np.abs(sums - 1).max() > _WEIGHT_SUM_TOLERANCE or checked["weights"].min() < -_WEIGHT_SUM_TOLERANCE:
        raise BadFile(f"{prefix}weights has rows that are negative or do not sum to 1")
    extent_m = float(np.ptp(checked["v_template"], axis=0).max())
    if not _PLAUSIBLE_EXTENT_M[0] <= extent_m <= _PLAUSIBLE_EXTENT_M[1]:
        raise BadFile(f"{prefix}v_template spans {extent_m:.3g} m, which is no hand in metres")
    for values in checked.values():
        values.setflags(write=False)
    return checked
