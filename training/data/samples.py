"""One annotated image -> one training sample: a crop and its labels in the crop and in camera axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from runtime.errors import UserError
from runtime.image.crop import Crop, crop_from_box
from runtime.image.reading import read_image
from training.data.augment import Augmentation, recolour
from training.data.frames import INTERACTING, Floats, Frames

MAX_LEFT_OUT = 20  # on end: more of them are not damaged, but gone
MIRROR = np.diag([-1.0, 1.0, 1.0]).astype(np.float32)

Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class Sample:
    """A crop and its labels; hand axis [right, left]; the project's joint order. What has no label is 0 and masked."""

    image: Floats  # (S, S, 3) RGB, 0..1
    presence: Floats  # (2,) 0 or 1
    has_presence: Floats  # (2,) 0 or 1: whether it is known
    joints: Floats  # (2, 21, 3) annotated, wrist-relative, camera axes, m
    joint_valid: Floats  # (2, 21) 0 or 1, for points: annotated, and in the picture that the crop is taken from
    joint_valid_3d: Floats  # (2, 21) 0 or 1, for joints: annotated, and its wrist too
    points: Floats  # (2, 21, 2) annotated joints in the crop, 0..1
    has_mano: Floats  # (2,) 0 or 1
    mano_joints: Floats  # (2, 21, 3) of the fitted hand model, wrist-relative, camera axes, m
    rotations: Floats  # (2, 16, 3, 3) root in camera axes
    shape: Floats  # (2, 10)
    relative_translation: Floats  # (3,) left wrist minus right wrist, camera axes, m
    has_translation: Floats  # () 0 or 1


def read_rgb(frames: Frames, index: int) -> NDArray[np.uint8]:
    """The image (H, W, 3), RGB; a UserError where it is missing or damaged, as the runner would say it."""
    return read_image(frames.path(index))


def drop_damaged(frames: Frames) -> tuple[Frames, list[str]]:
    """The images that can be used, and the names of those that cannot; reads them all, for the few of a validation."""
    usable = np.ones(len(frames), bool)
    for index in range(len(frames)):
        try:
            read_rgb(frames, index)
        except UserError:
            usable[index] = False
    return frames.subset(usable), [name.decode() for name in frames.file_names[~usable]]


def or_next(count: int, index: int, load: Callable[[int], Loaded], told: NDArray[np.bool_] | None = None) -> Loaded:
    """`load(index)`, or, where that one of `count` images is missing or damaged, of the next one after it that is not.

    Each that is left out is named in one line; `told` (N,) remembers which were. A UserError where many on end are bad.
    """
    for at in ((index + step) % count for step in range(MAX_LEFT_OUT)):
        try:
            return load(at)
        except UserError as error:
            if told is None or not told[at]:
                tqdm.write(f"left out: {error}")
            if told is not None:
                told[at] = True
            reason = error
    raise UserError(f"{MAX_LEFT_OUT} images on end cannot be used; the last: {reason}")


def load_crop(frames: Frames, index: int, crop_px: int) -> NDArray[np.uint8]:
    """Image `index`, or the next that can be used, cut as the runner cuts it: (S, S, 3) RGB."""
    return or_next(len(frames), index, lambda at: crop_from_box(frames.bbox[at], crop_px).apply(read_rgb(frames, at)))


def load_sample(frames: Frames, index: int, crop_px: int, augmentation: Augmentation | None = None) -> Sample:
    """Cut sample `index` at crop_px x crop_px. Without augmentation the crop is exactly the runner's."""
    rgb = read_rgb(frames, index)
    crop = crop_from_box(frames.bbox[index], crop_px)
    pose, camera = frames.pose_of[index], frames.camera_of[index]
    rotation = frames.camera_rotation[camera]
    joints = (frames.joints_world_m[pose] - frames.camera_position_m[camera]) @ rotation.T
    valid = frames.joint_valid[pose]
    if frames.points_px is None:
        in_image = valid & frames.joint_in_image[index]
        depth = np.where(valid, joints[..., 2], 1.0)[..., None]
        pixels = joints[..., :2] / depth * frames.focal_px[camera] + frames.principal_px[camera]
    else:
        in_image, pixels = frames.joint_in_image[index], frames.points_px[index]
    kind = frames.hand_type[index]
    presence = np.array([kind in (side, INTERACTING) for side in (0, 1)])
    # A hand that was not annotated may still be seen, or be out of the picture.
    has_presence = frames.hand_type_valid[index] | in_image.any(axis=1)
    points = crop.to_crop(pixels).astype(np.float32)
    has_mano = frames.has_mano[pose]
    rotations = frames.rotations_world[pose].copy()
    rotations[:, 0] = rotation @ rotations[:, 0]
    mano_joints = frames.mano_joints_m[pose] @ rotation.T
    translation = joints[1, 0] - joints[0, 0]
    shape = frames.shape[pose]

    if augmentation is None:
        image = crop.apply(rgb).astype(np.float32) / np.float32(255)
    else:
        cos, sin = np.cos(augmentation.angle_rad), np.sin(augmentation.angle_rad)
        turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], np.float32)
        image = recolour(_warp(rgb, crop, turn[:2, :2], augmentation), augmentation)
        about = (points - crop_px / 2) @ (turn[:2, :2].T * augmentation.scale)
        points = (about + crop_px * (0.5 + augmentation.shift)).astype(np.float32)
        joints, mano_joints, translation = joints @ turn.T, mano_joints @ turn.T, turn @ translation
        rotations[:, 0] = turn @ rotations[:, 0]
        if augmentation.flip:
            image = image[:, ::-1]
            points = np.stack([crop_px - points[..., 0], points[..., 1]], axis=-1)[::-1].astype(np.float32)
            joints, mano_joints = joints[::-1] @ MIRROR, mano_joints[::-1] @ MIRROR
            translation = -(MIRROR @ translation)
            rotations = MIRROR @ rotations[::-1] @ MIRROR
            valid, in_image, has_mano, shape = valid[::-1], in_image[::-1], has_mano[::-1], shape[::-1]
            presence, has_presence = presence[::-1], has_presence[::-1]

    valid_3d = valid & valid[:, :1]
    return Sample(
        image=np.ascontiguousarray(image),
        presence=presence.astype(np.float32),
        has_presence=has_presence.astype(np.float32),
        joints=_masked(joints - joints[:, :1], valid_3d[..., None]),
        joint_valid=in_image.astype(np.float32),
        joint_valid_3d=valid_3d.astype(np.float32),
        points=_masked(points / crop_px, in_image[..., None]),
        has_mano=has_mano.astype(np.float32),
        mano_joints=_masked(mano_joints, has_mano[:, None, None]),
        rotations=np.ascontiguousarray(rotations, np.float32),
        shape=_masked(shape, has_mano[:, None]),
        relative_translation=_masked(translation, valid[:, 0].all()),
        has_translation=np.float32(valid[:, 0].all()),  # type: ignore[arg-type]
    )


def _masked(values: NDArray[np.floating], mask: NDArray[np.bool_]) -> Floats:
    return np.where(mask, values, 0).astype(np.float32)


def _warp(
    rgb: NDArray[np.uint8], crop: Crop, turn: NDArray[np.floating], augmentation: Augmentation
) -> NDArray[np.uint8]:
    """The crop, turned (2, 2), scaled and shifted as drawn: crop = linear @ image + offset, pixel centres at .5."""
    linear = turn * (augmentation.scale * crop.output_px / crop.size_px)
    offset = crop.output_px * (0.5 + augmentation.shift) - linear @ np.asarray(crop.center_px)
    half = np.array([0.5, 0.5])  # OpenCV puts pixel centres at integers
    matrix = np.column_stack([linear, linear @ half + offset - half])
    return cv2.warpAffine(rgb, matrix, (crop.output_px,) * 2, flags=cv2.INTER_LINEAR)  # type: ignore[return-value]
