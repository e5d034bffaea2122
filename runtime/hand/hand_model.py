"""The parametric hand in numpy: reading a hand model file, and skinning.

A hand model file is an `.npz` without pickle. It holds the right hand, and may hold a left hand of its own under
`left_*` keys; without them the left hand is the right one's mirror image. Rotations follow MANO's convention (16 per
hand, wrist first); joints come out in the project's order (`runtime.hand.joints`). Lengths are metres.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from runtime.errors import UserError
from runtime.hand.checksum import sha256_hex
from runtime.hand.rig import Rig, blended_skin, make_rig, posed_bones, rest_pose

EMBEDDED_MODEL = Path(__file__).parents[1] / "assets" / "hand_embedded.npz"

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

_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MAX_FILE_BYTES = 64 * 2**20
_MAX_NAME_CHARACTERS = 100
_MAX_HEADER_BYTES = 4096
_HEADER = re.compile(
    r"\{'descr': '(?P<type>[<>|][a-zA-Z]\d{1,5})', 'fortran_order': (?P<fortran>True|False), "
    r"'shape': \((?P<shape>(\d{1,18}, ?)*(\d{1,18})?)\), \} *\n"
)
_WEIGHT_SUM_TOLERANCE = 1e-3
_LARGEST_VALUE = 1e4  # of any array: far beyond any hand, and nothing computed from it overflows
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
    def rig(self) -> Rig:
        """The model as `skin` uses it."""
        return make_rig(self)

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
    rig = model.rig
    turns = np.asarray(rotations, np.float32).take(rig.order, axis=-3)
    betas = np.asarray(shape, np.float32)
    rest, rest_joints = rest_pose(rig, turns, np.broadcast_to(betas, (*turns.shape[:-3], SHAPE_SIZE)))
    return blended_skin(rig, rest, *posed_bones(rig, turns, rest_joints))


def skin_at_wrist(
    model: HandModel, rotations: Float32Array, shape: Float32Array, signs: Float32Array
) -> tuple[Float32Array, Float32Array]:
    """The same, wrist-relative, each axis times its sign (..., 1, 3, 1): -1, 1, 1 makes the other hand."""
    rig = model.rig
    turns = rotations.take(rig.order, axis=-3)
    rest, rest_joints = rest_pose(rig, turns, shape)
    motions, joints = posed_bones(rig, turns, rest_joints)
    wrist = joints[..., :1, :].copy()
    motions[..., 3] -= wrist
    motions *= signs
    joints -= wrist
    joints *= signs[..., 0]
    return blended_skin(rig, rest, motions, joints)


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
        sha256 = sha256_hex(content)
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
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path} is not a regular file: give a hand model .npz")
        if status.st_size > _MAX_FILE_BYTES:
            raise UserError(f"{path} is too large for a hand model ({status.st_size} bytes); give a hand model .npz")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the hand model {path}: {error.strerror}; check the path") from None
    except ValueError:  # a zero byte in the name
        raise UserError(f"cannot read the hand model {str(path)!r}: this is no path") from None


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
                if member.compress_type not in _COMPRESSIONS:  # LZMA's memory is what the file asks for
                    raise _BadFile(f"the array {key} is compressed by another method than deflate")
                with archive.open(member) as stream:
                    arrays[key] = _read_array(stream, key, member.file_size)
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError):
        raise _BadFile("the zip archive is damaged or not one") from None
    return arrays


def _read_array(stream: Any, key: str, file_size: int) -> NDArray[Any]:
    shape, fortran_order, dtype = _read_header(stream, key)
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


def _read_header(stream: Any, key: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type. Read here, as numpy's own reader evaluates the text and raises errors of many kinds."""
    start = stream.read(8)
    count_bytes = {b"\x93NUMPY\1\0": 2, b"\x93NUMPY\2\0": 4}.get(start, 0)
    length = int.from_bytes(stream.read(count_bytes), "little")
    text = stream.read(length).decode("latin-1") if 0 < length <= _MAX_HEADER_BYTES else ""
    found = re.fullmatch(_HEADER, text)
    if found is None:
        raise _BadFile(f"the array {key} has a damaged header")
    try:
        dtype = np.dtype(found["type"])
    except TypeError:
        raise _BadFile(f"{key} has the unusable type {found['type']}") from None
    shape = tuple(int(number) for number in found["shape"].split(",") if number.strip())
    return shape, found["fortran"] == "True", dtype


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
            if np.abs(values).max() > _LARGEST_VALUE:
                raise _BadFile(f"{prefix}{key} holds values beyond {_LARGEST_VALUE:g}")
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
