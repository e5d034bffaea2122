"""A shard on disk: the pictures of a few frames, and one JSON file, written last, that says all of it is there.

Labels are as InterHand2.6M's annotation files write them. The JSON file begins with its own checksum and holds the
pictures' sizes: a shard that a killed run, a full disk or a loss of power cut short does not count as finished, and is
made again.
"""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.files import write_bytes_atomic
from runtime.hand.joints import INTERHAND_TO_JOINTS, JOINT_COUNT
from training.data.synthhands.arrays import Floats
from training.data.synthhands.frame import Frame, Picture, build_studio, draw_frame, make_frame
from training.data.synthhands.scene.scene import SIDES, Scene
from training.data.synthhands.schedule import CAPTURE_FRAMES, SUBJECT_FRAMES, Shard
from training.data.synthhands.table import Table

_GROUPS = CAPTURE_FRAMES // SUBJECT_FRAMES  # people of a capture
_WORLD_DIGITS = 4  # of millimetres
# InterHand's joint = the project's joint at this index, within one hand.
_TO_INTERHAND = np.argsort(INTERHAND_TO_JOINTS)


def shard_path(root: Path, shard: Shard) -> Path:
    """The shard's JSON file."""
    return root / "shards" / shard.split / f"{shard.index:06d}.json"


def compact(content: Any) -> bytes:
    """JSON without spaces."""
    return json.dumps(content, separators=(",", ":")).encode()


def make_shard(root: Path, table: Table, photographs: tuple[Path, ...], shard: Shard) -> int:
    """Renders and writes a shard; returns its number of images."""
    studio = build_studio(table, photographs)
    content: dict[str, Any] = {"capture": shard.capture, "images": [], "annotations": []}
    content |= {"camera": defaultdict(dict), "joint_3d": {}, "MANO_NeuralAnnot": {}, "image_bytes": []}
    for number in shard.frames:
        frame = make_frame(studio, shard.capture, number)
        for picture in draw_frame(studio, frame):
            image, annotation = _image_record(frame, picture, shard.first_image + len(content["images"]))
            path = root / "images" / shard.split / image["file_name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture.jpeg)
            content["images"].append(image)
            content["annotations"].append(annotation)
            content["image_bytes"].append(len(picture.jpeg))
            view = picture.view
            lens, place = {"focal": view.focal_px, "princpt": view.principal_px}, view.position_m * 1000
            for key, value in {"campos": place, "camrot": view.rotation, **lens}.items():
                content["camera"][key][view.name] = value.tolist()
        content["joint_3d"][str(number)] = _joint_record(frame.scene)
        content["MANO_NeuralAnnot"][str(number)] = _mano_record(frame.scene)
    body = compact(content)
    path = shard_path(root, shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(path, _seal(body) + b"\n" + body)
    return len(content["images"])


def read_shard(root: Path, shard: Shard) -> dict[str, Any] | None:
    """A finished shard's content; None where it or one of its pictures is missing or damaged."""
    folder = root / "images" / shard.split
    try:
        seal, _, body = shard_path(root, shard).read_bytes().partition(b"\n")
        if seal != _seal(body):
            return None
        content: dict[str, Any] = json.loads(body)
        for image, size in zip(content["images"], content["image_bytes"], strict=True):
            if (folder / image["file_name"]).stat().st_size != size:
                return None
    except FileNotFoundError:
        return None
    return content


def _seal(body: bytes) -> bytes:
    return b"%08x" % zlib.crc32(body)


def _image_record(frame: Frame, picture: Picture, image_id: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """One entry of `images` and one of `annotations` of the data file."""
    world, valid = _world_coordinates_mm(frame.scene)
    view, sequence = picture.view, _sequence(frame.scene)
    pixels = view.project(world / 1000)
    inside = ((pixels >= 0) & (pixels < view.size_px)).all(axis=1, keepdims=True) & valid
    image = {
        "id": image_id,
        "file_name": f"Capture{frame.capture}/{sequence}/cam{view.name}/image{frame.frame}.jpg",
        "width": view.size_px[0],
        "height": view.size_px[1],
        "capture": frame.capture,
        "subject": frame.capture * _GROUPS + frame.subject.group,
        "seq_name": sequence,
        "camera": view.name,
        "frame_idx": frame.frame,
        "category": picture.category,
    }
    annotation = {
        "id": image_id,
        "image_id": image_id,
        "bbox": [round(float(v), 3) for v in view.box],
        "joint_valid": inside.astype(int).tolist(),
        "hand_type": frame.scene.hand_type,
        "hand_type_valid": 1,
    }
    return image, annotation


def _joint_record(scene: Scene) -> dict[str, Any]:
    """The frame's entry of the joint file."""
    world, valid = _world_coordinates_mm(scene)
    return {
        "world_coord": world.tolist(),
        "joint_valid": valid.tolist(),
        "hand_type": scene.hand_type,
        "hand_type_valid": True,
        "seq": _sequence(scene),
    }


def _mano_record(scene: Scene) -> dict[str, Any]:
    """The frame's entry of the MANO file: numbers rounded before the pictures were made from them."""
    record: dict[str, Any] = dict.fromkeys(SIDES)
    for hand in scene.hands:
        values = {"pose": hand.pose, "shape": hand.shape, "trans": hand.translation}
        record[SIDES[hand.side]] = {key: value.tolist() for key, value in values.items()}
    return record


def _sequence(scene: Scene) -> str:
    return f"Synth_{scene.hand_type}"


def _world_coordinates_mm(scene: Scene) -> tuple[Floats, NDArray[np.bool_]]:
    """InterHand's 42 joints (42, 3) in the world, and which are there (42, 1)."""
    world, valid = np.zeros((2, JOINT_COUNT, 3)), np.zeros((2, JOINT_COUNT), bool)
    for hand in scene.hands:
        world[hand.side], valid[hand.side] = (hand.joints[_TO_INTERHAND] * 1000).round(_WORLD_DIGITS), True
    return world.reshape(-1, 3), valid.reshape(-1, 1)
