"""A frame's labels as InterHand2.6M's annotation files write them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from runtime.hand.joints import INTERHAND_TO_JOINTS, JOINT_COUNT
from training.data.synthhands.arrays import Floats
from training.data.synthhands.frame import Frame, Picture
from training.data.synthhands.scene.cameras import Camera
from training.data.synthhands.scene.scene import SIDES, Scene

_WORLD_DIGITS = 4  # of millimetres
# InterHand's joint = the project's joint at this index, within one hand.
_TO_INTERHAND = np.argsort(INTERHAND_TO_JOINTS)


def image_record(frame: Frame, picture: Picture, image_id: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """One entry of `images` and one of `annotations` of the data file."""
    world, valid = _world_coordinates_mm(frame.scene)
    camera = picture.view.camera
    pinhole = camera.pinhole
    pixels = pinhole.project(camera.see(world / 1000))
    inside = ((pixels >= 0) & (pixels < pinhole.size_px)).all(axis=1) & np.array(valid, bool)
    image = {
        "id": image_id,
        "file_name": frame.file_name(camera),
        "width": pinhole.size_px[0],
        "height": pinhole.size_px[1],
        "capture": frame.capture,
        "subject": frame.subject.number,
        "seq_name": frame.sequence,
        "camera": camera.name,
        "frame_idx": frame.frame,
        "category": picture.category,
    }
    annotation = {
        "id": image_id,
        "image_id": image_id,
        "bbox": [round(float(v), 3) for v in picture.view.box],
        "joint_valid": [[int(v)] for v in inside],
        "hand_type": frame.scene.hand_type,
        "hand_type_valid": 1,
    }
    return image, annotation


def joint_record(frame: Frame) -> dict[str, Any]:
    """The frame's entry of the joint file."""
    world, valid = _world_coordinates_mm(frame.scene)
    return {
        "world_coord": world.tolist(),
        "joint_valid": [[bool(v)] for v in valid],
        "hand_type": frame.scene.hand_type,
        "hand_type_valid": True,
        "seq": frame.sequence,
    }


def mano_record(frame: Frame) -> dict[str, Any]:
    """The frame's entry of the MANO file: numbers rounded before the pictures were made from them."""
    record: dict[str, Any] = dict.fromkeys(SIDES)
    for hand in frame.scene.hands:
        values = {"pose": hand.pose, "shape": hand.shape, "trans": hand.translation}
        record[SIDES[hand.side]] = {key: value.tolist() for key, value in values.items()}
    return record


def camera_record(cameras: Iterable[Camera]) -> dict[str, Any]:
    """A capture's entry of the camera file."""
    record: dict[str, Any] = {"campos": {}, "camrot": {}, "focal": {}, "princpt": {}}
    for camera in cameras:
        record["campos"][camera.name] = (camera.position_m * 1000).tolist()
        record["camrot"][camera.name] = camera.rotation.tolist()
        record["focal"][camera.name] = camera.pinhole.focal_px.tolist()
        record["princpt"][camera.name] = camera.pinhole.principal_px.tolist()
    return record


def _world_coordinates_mm(scene: Scene) -> tuple[Floats, list[int]]:
    """InterHand's 42 joints (42, 3) in the world, and which are there."""
    world = np.zeros((2, JOINT_COUNT, 3))
    valid = [0] * (2 * JOINT_COUNT)
    for hand in scene.hands:
        world[hand.side] = (hand.joints[_TO_INTERHAND] * 1000).round(_WORLD_DIGITS)
        valid[hand.side * JOINT_COUNT : (hand.side + 1) * JOINT_COUNT] = [1] * JOINT_COUNT
    return world.reshape(-1, 3), valid
