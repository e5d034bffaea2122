"""Reader of HIC, "Hands in Action" (Tzionas et al., IJCV 2016), as InterWild's authors prepared it for testing.

    HIC.json                                   COCO style, from InterWild's authors: images[id, file_name, ...],
                                               annotations[id, image_id, hand_type, right_mano_path, left_mano_path]
    01/1/rgb/000.png ...                       the original sequences: 01-11 two hands or one, 15-21 with objects
    IJCV16___Results_MANO___parms_for___joints21/...___Model_Hand_{R,L}___ncomps45/000.ply, 000.pkl       MANO fits

Known from InterWild's code: a test set only; paths are relative to HIC.json, a missing fit is null; the meshes have
MANO's 778 vertices, in metres, in the camera's frame (x right, y down, z forward); one pinhole camera of 640 x 480
pixels with a focal length of 525 and its centre at (319.5, 239.5).

What the format leaves unclear, and what is done here:
- The .pkl fits are pickles, and no source says what the 48 numbers of their `pose` are: the .ply meshes are the labels,
  and joints are regressed from them, as InterWild does. `joint_2d` is noisy, with the left index finger in reverse
  order. The box is that of the meshes: nothing says how `bbox` was made.
- The camera's centre is half of 639 x 479: pixel centres at integers. Ours are at .5, hence (320, 240).
- A hand that its `hand_type` names but that has no fit counts as seen, without labels; an annotation without any fit
  says not even where the hands are, and is left out.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from plyfile import PlyData, PlyParseError
from tqdm import tqdm

from runtime.errors import UserError, first_line
from runtime.files import read_regular
from runtime.hand.hand_model import VERTICES, HandModel, HandPair, joints_of
from runtime.hand.joints import MANO_TO_JOINTS
from training.data.frames import HAND_TYPES, SIDES, Floats, Frames
from training.data.readers.index import Arrays, format_errors, open_index, read_json
from training.data.readers.pictures import checked_name, frames_arrays

NAME, FILES = "HIC", "HIC.json"
FOCAL_PX, CENTER_PX = 525.0, (320.0, 240.0)
IMAGE_PX = (640, 480)
MAX_PLY_BYTES = 1 << 20

Row = tuple[int, bytes, int, list[Path | None]]  # annotation, picture, hand type, meshes of right and left


def find_root(data: Path) -> Path | None:
    """The folder of HIC.json, where `data` is HIC, else None."""
    return next((folder for folder in (data, data / "data") if (folder / FILES).is_file()), None)


def read_frames(root: Path, split: str, hands: HandPair) -> Frames:
    """The annotated images in the order of HIC.json; a UserError for bad files, and another hand model."""
    if split != "test":
        raise UserError(f"HIC is a test set: it has no split '{split}'")
    if "MANO" not in hands[0].name:
        raise UserError(f"HIC's meshes are MANO's, not '{hands[0].name}': give the converted MANO as --hand-model")
    wrong = f"{root / FILES} is not in HIC's format"
    with format_errors(wrong):
        rows = _rows(read_json(root / FILES), root)
    meshes = [path for *_, pair in rows for path in pair if path is not None]
    arrays = open_index([root / FILES, *meshes], f"hic {hands[0].sha256}", lambda: _to_arrays(rows, hands), wrong)
    return Frames(NAME, root, **arrays)


def _rows(content: dict[str, Any], root: Path) -> list[Row]:
    file_names = {image["id"]: checked_name(image["file_name"]) for image in content["images"]}
    rows: list[Row] = []
    for item in content["annotations"]:
        paths = [item[f"{side}_mano_path"] for side in SIDES]
        meshes = [None if path is None else root / checked_name(path).decode() for path in paths]
        if any(meshes):
            rows.append((int(item["id"]), file_names[item["image_id"]], HAND_TYPES.index(item["hand_type"]), meshes))
    if not rows:
        raise ValueError("no annotation has a mesh")
    return rows


def _to_arrays(rows: Sequence[Row], hands: HandPair) -> Arrays:
    numbers, names, kinds, meshes = zip(*rows, strict=True)
    there = np.array([[path is not None for path in pair] for pair in meshes])
    vertices = np.zeros((len(rows), 2, VERTICES, 3), np.float32)
    for row, side in tqdm(np.argwhere(there), desc="reading meshes", unit="mesh", leave=False, delay=1):
        vertices[row, side] = read_ply(meshes[row][side])
    joints = np.stack([regress_joints(hand, vertices[:, side]) for side, hand in enumerate(hands)], axis=1)
    pixels = _project(vertices, there)
    pixels[~there] = np.nan
    low, high = np.nanmin(pixels, axis=(1, 2)), np.nanmax(pixels, axis=(1, 2))
    points = _project(joints, there)
    valid = np.repeat(there[..., None], joints.shape[2], axis=2)
    return frames_arrays(
        len(rows),
        file_names=names,
        annotation_id=numbers,
        pose_of=range(len(rows)),
        bbox=np.concatenate([low, high - low], axis=1),
        hand_type=kinds,
        hand_type_valid=np.ones(len(rows)),
        joint_in_image=valid & ((points >= 0) & (points <= np.array(IMAGE_PX))).all(axis=-1),
        joints_world_m=joints,
        joint_valid=valid,
        has_mano=there,
        rotations_world=np.broadcast_to(np.eye(3), (len(rows), 2, 16, 3, 3)),  # nobody trains on a test set
        shape=np.zeros((len(rows), 2, 10)),
        mano_joints_m=joints - joints[:, :, :1],
        vertices_m=vertices - joints[:, :, :1],
        focal_px=[[FOCAL_PX, FOCAL_PX]],
        principal_px=[CENTER_PX],
    )


def _project(points: Floats, there: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Camera-space points (N, 2, P, 3) of the hands that are there -> pixels (N, 2, P, 2)."""
    depth = np.where(there[..., None], points[..., 2], 1)[..., None]
    return points[..., :2] / depth * FOCAL_PX + np.array(CENTER_PX)


def regress_joints(hand: HandModel, vertices: Floats) -> Floats:
    """Meshes (N, 778, 3) -> joints (N, 21, 3), in the project's order."""
    skeleton = np.moveaxis(joints_of(hand, np.moveaxis(vertices, 0, -1)), -1, 0)
    return np.concatenate([skeleton, vertices[:, hand.tips]], axis=1)[:, MANO_TO_JOINTS]


def read_ply(path: Path) -> Floats:
    """The vertices (778, 3) of a .ply file, camera space; a UserError where it is no hand in front of the camera."""
    content = read_regular(path, "the mesh of a hand", MAX_PLY_BYTES)
    try:
        table = PlyData.read(io.BytesIO(content))["vertex"]
        vertices = np.stack([table[axis] for axis in "xyz"], axis=1).astype(np.float32)
    except (PlyParseError, ValueError, KeyError, IndexError, OverflowError, MemoryError) as error:
        raise UserError(f"{path} is not the mesh of a hand ({first_line(error)})") from error
    if vertices.shape != (VERTICES, 3) or not np.isfinite(vertices).all() or vertices[:, 2].min() <= 0:
        raise UserError(f"{path} is not the mesh of a hand (not {VERTICES} vertices in front of the camera)")
    return vertices
