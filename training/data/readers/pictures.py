"""What readers share: the arrays of Frames, boxes, the order of joints, names of files."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UserError
from runtime.hand.joints import BONES, INTERHAND_TO_JOINTS, JOINT_COUNT, MANO_TO_JOINTS, WRIST
from training.data.frames import PER_IMAGE, Floats
from training.data.readers.index import Arrays

BOX_SCALE = 1.2  # of the joints' extent: as far as InterHand2.6M's boxes reach over the joints
MIN_HANDS = 8  # that tell the order of joints
MAX_NAME_BYTES = 512
# Joints in one order that were taken for another lie in these places; fingers are longer so, by a third and more on
# photographs. An order that is none of the known ones goes unnoticed.
_MISTAKEN = (INTERHAND_TO_JOINTS, np.argsort(INTERHAND_TO_JOINTS), MANO_TO_JOINTS, np.argsort(MANO_TO_JOINTS))
_INNER_BONES = np.array([bone for bone in BONES if WRIST not in bone])


def frames_arrays(count: int, **known: Any) -> Arrays:
    """The arrays of Frames for `count` images, each of its type; what is not known says nothing."""
    nothing: dict[str, Any] = {
        "file_names": np.zeros(count, np.bytes_),
        "folder_of": np.zeros(count, np.int32),
        "annotation_id": np.zeros(count, np.int64),
        "pose_of": np.zeros(count, np.int32),
        "camera_of": np.zeros(count, np.int32),
        "bbox": np.zeros((count, 4), np.float32),
        "hand_type": np.zeros(count, np.int8),
        "hand_type_valid": np.zeros(count, bool),
        "joint_in_image": np.zeros((count, 2, JOINT_COUNT), bool),
        "joints_world_m": np.zeros((1, 2, JOINT_COUNT, 3), np.float32),
        "joint_valid": np.zeros((1, 2, JOINT_COUNT), bool),
        "has_mano": np.zeros((1, 2), bool),
        "rotations_world": np.broadcast_to(np.eye(3, dtype=np.float32), (1, 2, 16, 3, 3)),
        "shape": np.zeros((1, 2, 10), np.float32),
        "mano_joints_m": np.zeros((1, 2, JOINT_COUNT, 3), np.float32),
        "camera_position_m": np.zeros((1, 3), np.float32),
        "camera_rotation": np.eye(3, dtype=np.float32)[None],
        "focal_px": np.ones((1, 2), np.float32),
        "principal_px": np.zeros((1, 2), np.float32),
    }
    typed = {name: np.array(known.get(name, value), value.dtype.type) for name, value in nothing.items()}
    return {**known, **typed}


def picture_arrays(
    points: NDArray[np.floating], valid: NDArray[np.bool_], hidden: NDArray[np.bool_], **known: Any
) -> Arrays:
    """Arrays of Frames for pictures with 2D joints (N, 2, 21, 2) alone; a hand without joints is not known of."""
    return frames_arrays(
        len(points),
        bbox=box_of_joints(points.reshape(len(points), -1, 2), valid.reshape(len(valid), -1)),
        joint_in_image=valid,
        points_px=np.where(valid[..., None], points, 0).astype(np.float32),
        occluded=hidden & valid,
        **known,
    )


def box_of_joints(points: NDArray[np.floating], valid: NDArray[np.bool_]) -> Floats:
    """(..., J, 2), (..., J) -> (..., 4) x, y, width, height, px, around the joints that are valid; nan without any."""
    low = np.where(valid[..., None], points, np.inf).min(axis=-2)
    high = np.where(valid[..., None], points, -np.inf).max(axis=-2)
    low, high = np.where(np.any(valid, axis=-1, keepdims=True), (low, high), np.nan)
    size = (high - low) * BOX_SCALE
    return np.concatenate([(low + high - size) / 2, size], axis=-1).astype(np.float32)


def check_joint_order(points: NDArray[np.floating], valid: NDArray[np.bool_], what: str) -> None:
    """A UserError where hands (..., 21, 2 or 3) are in another known order than the project's, by those that are whole.

    Which finger is which, and which hand, it does not tell.
    """
    whole = points[valid.all(axis=-1)]
    if len(whole) < MIN_HANDS:
        return
    own, *others = (_finger_length(whole[:, order]) for order in (range(JOINT_COUNT), *_MISTAKEN))
    if min(others) < own:
        raise UserError(f"{what}: joints are in another order than wrist, then thumb to little finger, base to tip")


def _finger_length(hands: NDArray[np.floating]) -> float:
    """Median over hands (N, 21, 2 or 3) of what lies between neighbours along the fingers."""
    bones = hands[:, _INNER_BONES]
    return float(np.median(np.linalg.norm(bones[:, :, 0] - bones[:, :, 1], axis=-1).sum(axis=1)))


def shuffled(arrays: Arrays) -> Arrays:
    """The arrays of Frames with the images in an order drawn once and for all: the first so many are a fair sample."""
    order = np.random.default_rng(0).permutation(len(arrays["file_names"]))
    return {key: array[order] if key in PER_IMAGE else array for key, array in arrays.items()}


def checked_name(name: str) -> bytes:
    """A path below the folder of images, of sensible length; backslashes, as Windows writes them, become slashes."""
    name = name.replace("\\", "/")
    encoded = name.encode()
    if not encoded or len(encoded) > MAX_NAME_BYTES or b"\0" in encoded:
        raise ValueError(f"unusable file name {name[:60]!r}")
    if name.startswith("/") or ":" in name or ".." in name:
        raise ValueError(f"file name {name[:60]!r} leads out of the data set")
    return encoded
