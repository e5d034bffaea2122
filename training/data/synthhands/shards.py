"""A shard on disk: the pictures of a few frames, and one JSON file, written last, that says all of it is there.

The JSON file begins with its own checksum and holds the pictures' sizes: a shard that a killed run, a full disk or a
loss of power cut short does not count as finished, and is made again.
"""

from __future__ import annotations

import json
import secrets
import zlib
from pathlib import Path
from typing import Any

from runtime.files import write_bytes_atomic
from training.data.synthhands.frame import build_studio, draw_frame, make_frame
from training.data.synthhands.labels import camera_record, image_record, joint_record, mano_record
from training.data.synthhands.scene.cameras import Camera
from training.data.synthhands.schedule import Shard
from training.data.synthhands.table import Table


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
    content |= {"camera": {}, "joint_3d": {}, "MANO_NeuralAnnot": {}, "image_bytes": []}
    cameras: list[Camera] = []
    for number in shard.frames:
        frame = make_frame(studio, shard.capture, number)
        for picture in draw_frame(studio, frame):
            image, annotation = image_record(frame, picture, shard.first_image + len(content["images"]))
            path = root / "images" / shard.split / image["file_name"]
            _write(path, picture.jpeg)
            content["images"].append(image)
            content["annotations"].append(annotation)
            content["image_bytes"].append(len(picture.jpeg))
            cameras.append(picture.view.camera)
        content["joint_3d"][str(number)] = joint_record(frame)
        content["MANO_NeuralAnnot"][str(number)] = mano_record(frame)
    content["camera"] = camera_record(cameras)
    body = compact(content)
    path = shard_path(root, shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(path, _seal(body) + b"\n" + body)
    return len(content["images"])


def _write(path: Path, content: bytes) -> None:
    """As one, for whoever reads or makes the same picture; without waiting for the disk, for thousands of pictures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


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
