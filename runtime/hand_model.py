"""The parametric hand in numpy: reading a hand model file, and skinning.

A hand model file is an `.npz` without pickle. It holds the right hand, and may hold a left hand of its own under
`left_*` keys; without them the left hand is the right one's mirror image. Rotations follow MANO's convention (16 per
hand, wrist first); joints come out in the project's order (`runtime.joints`). Lengths are metres.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from runtime.errors import UserError
from runtime.joints import MANO_TO_JOINTS

EMBEDDED_MODEL = Path(__file__).parent / "assets" / "hand_embedded.npz"

VERTICES = 778
FACES = 1538
SKELETON_JOINTS = 16
SHAPE_SIZE = 10
POSE_FEATURES = (SKELETON_JOINTS - 1) * 9

Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]

_FLOAT_SHAPES: dict[str, tuple[int, ...]] = {
    "v_template": (VERTICES, 3),
    "shapedirs": (VERTICES, 3, SHAPE_SIZE),
    "posedirs": (VERTICES, 3, POSE_FEATURES),
    "J_regressor": (SKELETON_JOINTS, VERTICES),
    "weights": (VERTICES, SKELETON_JOINTS),
    "hands_mean": ((SKELETON_JOINTS - 1) * 3,),
}
_INT_SHAPES: dict[str, tuple[int, ...]] = {"parents": (SKELETON_JOINTS,), "faces": (FACES, 3), "tips": (5,)}
_SHAPES = _FLOAT_SHAPES | _INT_SHAPES
_SAME_ON_BOTH_SIDES = ("parents", "tips")  # a file's left hand may leave these out

_MAX_FILE_BYTES = 64 * 2**20
_MAX_NAME_CHARACTERS = 100
_MAX_HEADER_BYTES = 4096
_WEIGHT_SUM_TOLERANCE = 1e-3
_PLAUSIBLE_EXTENT_M = (0.02, 1.0)  # a template in millimetres or centimetres falls outside


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
    def template_row(self) -> Float32Array:
        """(2334,)"""
        return np.ascontiguousarray(self.v_template.reshape(-1))

    @cached_property
    def shape_basis(self) -> Float32Array:
        """(10, 2334)"""
        return np.ascontiguousarray(self.shapedirs.reshape(-1, SHAPE_SIZE).T)

    @cached_property
    def pose_basis(self) -> Float32Array | None:
        """(135, 2334), or None where the model has no pose correctives."""
        if not self.posedirs.any():
            return None
        return np.ascontiguousarray(self.posedirs.reshape(-1, POSE_FEATURES).T)

    @cached_property
    def joint_row(self) -> Float32Array:
        """(48,): the regressor applied to the template once, in double precision."""
        return (self.J_regressor.astype(np.float64) @ self.v_template).astype(np.float32).reshape(-1)

    @cached_property
    def joint_shape_basis(self) -> Float32Array:
        """(10, 48): the regressor applied to the shape directions once."""
        directions = np.tensordot(self.J_regressor.astype(np.float64), self.shapedirs, axes=(1, 0))
        return np.ascontiguousarray(directions.reshape(-1, SHAPE_SIZE).T.astype(np.float32))

    @cached_property
    def levels(self) -> tuple[tuple[IntArray, IntArray], ...]:
        """The skeleton as (joints, their parents) per depth below the wrist: joints of a level move together."""
        depth = [0] * SKELETON_JOINTS
        for joint in range(1, SKELETON_JOINTS):
            depth[joint] = depth[self.parents[joint]] + 1
        by_depth = [np.flatnonzero(np.equal(depth, level)) for level in range(1, max(depth) + 1)]
        return tuple((joints, self.parents[joints]) for joints in by_depth)


def skin(model: HandModel, rotations: ArrayLike, shape: ArrayLike) -> tuple[Float32Array, Float32Array]:
    """Pose a hand.

    Args:
        rotations: (..., 16, 3, 3), MANO's joint order, `hands_mean` already added.
        shape: (..., 10).

    Returns:
        vertices (..., 778, 3) and joints (..., 21, 3), metres. The wrist turns about its own joint and nothing is
        translated: subtract joints[..., :1, :] for wrist-relative coordinates.
    """
    turns = np.asarray(rotations, dtype=np.float32)
    betas = np.asarray(shape, dtype=np.float32)
    batch = turns.shape[:-3]

    rest = model.template_row + betas @ model.shape_basis
    rest_joints = (model.joint_row + betas @ model.joint_shape_basis).reshape(*betas.shape[:-1], SKELETON_JOINTS, 3)
    if model.pose_basis is not None:
        features = (turns[..., 1:, :, :] - np.eye(3, dtype=np.float32)).reshape(*batch, POSE_FEATURES)
        rest = rest + features @ model.pose_basis
    rest = rest.reshape(*rest.shape[:-1], VERTICES, 3)

    posed = turns.copy()
    joints = np.empty((*batch, SKELETON_JOINTS, 3), np.float32)
    joints[..., 0, :] = rest_joints[..., 0, :]
    for children, parents in model.levels:
        above = posed[..., parents, :, :]
        posed[..., children, :, :] = above @ turns[..., children, :, :]
        bones = rest_joints[..., children, :] - rest_joints[..., parents, :]
        joints[..., children, :] = joints[..., parents, :] + (above @ bones[..., None])[..., 0]

    # Each joint's motion as four rows of three numbers: the columns of its rotation, then its shift.
    motions = np.empty((*batch, SKELETON_JOINTS, 4, 3), np.float32)
    motions[..., :3, :] = np.swapaxes(posed, -1, -2)
    motions[..., 3, :] = joints - (posed @ rest_joints[..., None])[..., 0]
    blended = (model.weights @ motions.reshape(*batch, SKELETON_JOINTS, 12)).reshape(*batch, VERTICES, 4, 3)
    vertices: Float32Array = blended[..., 3, :]
    for axis in range(3):
        vertices = np.add(vertices, rest[..., axis : axis + 1] * blended[..., axis, :], dtype=np.float32)

    with_tips = np.concatenate([joints, vertices[..., model.tips, :]], axis=-2)
    return vertices, with_tips[..., MANO_TO_JOINTS, :]


def mirror(model: HandModel) -> HandModel:
    """The other hand: the mirror image in x, with rotations mirrored as MANO does (axis-angle y and z negated)."""
    flip = np.array([-1, 1, 1], np.float32)
    feature_signs = np.tile(np.outer(flip, flip).reshape(-1), SKELETON_JOINTS - 1)
    return HandModel(
        v_template=model.v_template * flip,
        shapedirs=model.shapedirs * flip[:, None],
        posedirs=model.posedirs * flip[:, None] * feature_signs,
        J_regressor=model.J_regressor,
        weights=model.weights,
        parents=model.parents,
        faces=np.ascontiguousarray(model.faces[:, ::-1]),
        tips=model.tips,
        hands_mean=(model.hands_mean.reshape(-1, 3) * -flip).reshape(-1),
        name=model.name,
        sha256=model.sha256,
        side="left" if model.side == "right" else "right",
    )


def load_hand_models(path: Path | None = None) -> tuple[HandModel, HandModel]:
    """Read (right, left) from a hand model file; None is the embedded one. The file is not trusted."""
    path = EMBEDDED_MODEL if path is None else Path(path)
    content = _read_bytes(path)
    try:
        arrays = _read_members(content)
        name = _checked_name(arrays)
        left_given = any(key.startswith("left_") for key in arrays)
        sha256 = hashlib.sha256(content).hexdigest()
        right = HandModel(**_checked_arrays(arrays, ""), name=name, sha256=sha256, side="right")
        if not left_given:
            return right, mirror(right)
        for key in _SAME_ON_BOTH_SIDES:
            arrays.setdefault(f"left_{key}", arrays[key])
        left = HandModel(**_checked_arrays(arrays, "left_"), name=name, sha256=sha256, side="left")
    except _BadFile as problem:
        raise UserError(f"{path} is not a usable hand model: {problem}; convert or build it again") from None
    return right, left


class _BadFile(Exception):
    """What is wrong with a hand model file."""


def _read_bytes(path: Path) -> bytes:
    try:
        size_bytes = path.stat().st_size
        if size_bytes > _MAX_FILE_BYTES:
            raise UserError(f"{path} is too large for a hand model ({size_bytes} bytes); give a hand model .npz")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the hand model {path}: {error.strerror}; check the path") from None


def _read_members(content: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of an npz; each member's name, type and shape are checked before its data are read."""
    known = {"name"} | {f"{prefix}{key}" for prefix in ("", "left_") for key in _SHAPES}
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.infolist():
                key = member.filename.removesuffix(".npy")
                if key not in known:
                    raise _BadFile(f"unknown array {member.filename[:60]!r}")
                if key in arrays:
                    raise _BadFile(f"the array {key} is there twice")
                with archive.open(member) as stream:
                    arrays[key] = _read_array(stream, key, member.file_size)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError, RuntimeError):
        raise _BadFile("the zip archive is damaged or not one") from None
    return arrays


def _read_array(stream: Any, key: str, file_size: int) -> NDArray[Any]:
    try:
        numpy_format: Any = np.lib.format  # its functions have no types
        readers = {(1, 0): numpy_format.read_array_header_1_0, (2, 0): numpy_format.read_array_header_2_0}
        read_header = readers[numpy_format.read_magic(stream)]
        shape, fortran_order, dtype = read_header(stream, max_header_size=_MAX_HEADER_BYTES)
    except (ValueError, KeyError, TypeError, SyntaxError, UnicodeError, MemoryError, RecursionError):
        raise _BadFile(f"the array {key} has a damaged header") from None
    base = key.removeprefix("left_")
    expected = () if key == "name" else _SHAPES[base]
    if shape != expected:
        raise _BadFile(f"{key} has shape {str(shape)[:60]}, not {expected}")
    if not _type_fits(base, dtype):
        raise _BadFile(f"{key} has the unusable type {str(dtype)[:60]}")
    size_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if stream.tell() + size_bytes != file_size:
        raise _BadFile(f"{key} holds {file_size - stream.tell()} bytes, not {size_bytes}")
    data = stream.read(size_bytes + 1)  # one more than there is, so that the checksum is verified
    if len(data) != size_bytes:
        raise _BadFile(f"{key} is cut short")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")


def _type_fits(key: str, dtype: np.dtype[Any]) -> bool:
    if dtype.hasobject or dtype.names is not None or dtype.subdtype is not None:
        return False
    if key == "name":
        return dtype.kind == "U" and dtype.itemsize <= 4 * _MAX_NAME_CHARACTERS
    return dtype.kind in "iu" if key in _INT_SHAPES else dtype.kind == "f" and dtype.itemsize <= 8


def _checked_name(arrays: dict[str, NDArray[Any]]) -> str:
    if "name" not in arrays:
        raise _BadFile("the array name is missing")
    try:
        name = str(arrays["name"][()])
    except (ValueError, UnicodeError, SystemError):
        name = ""
    if not name or not name.isprintable():
        raise _BadFile("its name is empty or not printable")
    return name


def _checked_arrays(arrays: dict[str, NDArray[Any]], prefix: str) -> dict[str, Any]:
    missing = [f"{prefix}{key}" for key in _SHAPES if f"{prefix}{key}" not in arrays]
    if missing:
        raise _BadFile(f"missing {', '.join(missing)}")
    checked: dict[str, Any] = {}
    with np.errstate(over="ignore", invalid="ignore"):
        for key in _FLOAT_SHAPES:
            values = arrays[f"{prefix}{key}"].astype(np.float32, order="C")
            if not np.isfinite(values).all():
                raise _BadFile(f"{prefix}{key} holds values that are not finite")
            checked[key] = values
    for key in _INT_SHAPES:
        checked[key] = arrays[f"{prefix}{key}"].astype(np.int64, order="C")

    parents = checked["parents"]
    if parents[0] != -1 or (parents[1:] < 0).any() or (parents[1:] >= np.arange(1, SKELETON_JOINTS)).any():
        raise _BadFile(f"{prefix}parents is not a tree that starts with -1 and names parents before children")
    for key in ("faces", "tips"):
        if checked[key].min() < 0 or checked[key].max() >= VERTICES:
            raise _BadFile(f"{prefix}{key} names vertices outside 0..{VERTICES - 1}")
    sums = checked["weights"].sum(axis=1)
    if np.abs(sums - 1).max() > _WEIGHT_SUM_TOLERANCE or checked["weights"].min() < -_WEIGHT_SUM_TOLERANCE:
        raise _BadFile(f"{prefix}weights has rows that are negative or do not sum to 1")
    extent_m = float(np.ptp(checked["v_template"], axis=0).max())
    if not _PLAUSIBLE_EXTENT_M[0] <= extent_m <= _PLAUSIBLE_EXTENT_M[1]:
        raise _BadFile(f"{prefix}v_template spans {extent_m:.3g} m, which is no hand in metres")
    for values in checked.values():
        values.setflags(write=False)
    return checked
