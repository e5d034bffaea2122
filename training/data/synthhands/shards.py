"""Shards on disk: the pictures of a few frames, and one JSON file, written last, that says all of it is there."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.data.synthhands import schedule as plan
from training.data.synthhands.files import write_whole

if TYPE_CHECKING:
    from training.data.synthhands.frame import Studio

SHARD_FOLDER = "shards"


def shard_path(root: Path, shard: plan.Shard) -> Path:
    return root / SHARD_FOLDER / shard.split / f"{shard.index:06d}.json"


def image_folder(root: Path, split: str) -> Path:
    return root / "images" / split


def compact(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def make_shard(root: Path, shard: plan.Shard, studio: Studio) -> int:
    """Renders and writes a shard; returns its number of images."""
    from training.data.synthhands import frame as frames
    from training.data.synthhands.scene.cameras import capture_cameras

    folder = image_folder(root, shard.split)
    cameras = capture_cameras(shard.capture)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    sizes: list[int] = []
    joints: dict[str, Any] = {}
    mano: dict[str, Any] = {}
    used: set[str] = set()
    person_key, person = -1, None
    for number in shard.frames:
        frame = frames.make_frame(studio, shard.capture, number, cameras)
        if person is None or frame.subject.number != person_key:
            person_key, person = frame.subject.number, frames.person_of(frame)
        for picture in frames.draw_frame(studio, frame, person):
            image, annotation = frames.image_record(frame, picture.view, shard.first_image + len(images))
            write_whole(folder / image["file_name"], picture.jpeg)
            images.append(image)
            annotations.append(annotation)
            sizes.append(len(picture.jpeg))
            used.add(picture.view.camera.name)
        joints[str(number)] = frames.joint_record(frame)
        mano[str(number)] = frames.mano_record(frame)
    content = {
        "capture": shard.capture,
        "images": images,
        "annotations": annotations,
        "camera": frames.camera_record(tuple(camera for camera in cameras if camera.name in used)),
        "joint_3d": joints,
        "MANO_NeuralAnnot": mano,
        "image_bytes": sizes,
    }
    write_whole(shard_path(root, shard), _sealed(compact(content)))
    return len(images)


def read_shard(root: Path, shard: plan.Shard) -> dict[str, Any] | None:
    """A finished shard's content; None where it or one of its pictures is missing or damaged."""
    try:
        content = _unsealed(shard_path(root, shard).read_bytes())
        if content is None:
            return None
        folder = image_folder(root, shard.split)
        for image, size in zip(content["images"], content["image_bytes"], strict=True):
            if (folder / image["file_name"]).stat().st_size != size:
                return None
    except FileNotFoundError:
        return None
    return content


def _sealed(body: bytes) -> bytes:
    """The body with its checksum in front, on a line of its own."""
    return b"%08x\n" % zlib.crc32(body) + body


def _unsealed(content: bytes) -> dict[str, Any] | None:
    seal, _, body = content.partition(b"\n")
    if seal != b"%08x" % zlib.crc32(body):
        return None
    loaded: dict[str, Any] = json.loads(body)
    return loaded
