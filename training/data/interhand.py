"""Reader of InterHand2.6M's annotation files (Moon et al., ECCV 2020), into plain arrays.

`annotations/{split}/InterHand2.6M_{split}_{data,camera,joint_3d,MANO_NeuralAnnot}.json`; the synthetic set is
written in the same format, so this is the only reader.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UserError
from runtime.hand_model import HandModel, skin
from runtime.joints import INTERHAND_TO_JOINTS
from runtime.rotations import matrix_from_axis_angle

Floats = NDArray[np.float32]
SIDES = ("right", "left")
MAX_ANNOTATION_BYTES = 4 << 30
SKIN_BATCH = 1024


@dataclass(frozen=True)
class Frames:
    """N images of one split; P poses and K cameras they refer to. Hand axis [right, left]; our joint order."""

    name: str  # of the data set, with its version
    synthetic: bool
    image_root: Path
    file_names: NDArray[np.str_]  # (N,) below image_root
    pose_of: NDArray[np.int32]  # (N,) row of the pose arrays
    camera_of: NDArray[np.int32]  # (N,) row of the camera arrays
    bbox: Floats  # (N, 4) x, y, width, height, px
    joints_world_m: Floats  # (P, 2, 21, 3) annotated joints
    joint_valid: NDArray[np.bool_]  # (P, 2, 21)
    has_mano: NDArray[np.bool_]  # (P, 2)
    rotations_world: Floats  # (P, 2, 16, 3, 3) full rotations, root in the world frame
    shape: Floats  # (P, 2, 10) betas
    mano_joints_m: Floats  # (P, 2, 21, 3) of the fitted hand model, wrist-relative, world axes
    camera_position_m: Floats  # (K, 3)
    camera_rotation: Floats  # (K, 3, 3) world -> camera
    focal_px: Floats  # (K, 2)
    principal_px: Floats  # (K, 2)

    def __len__(self) -> int:
        return len(self.file_names)

    def first(self, count: int) -> Frames:
        """The first `count` images; a UserError where there are fewer."""
        if count > len(self):
            raise UserError(f"{self.name} has {len(self)} images of this split, {count} are needed")
        cut = {key: getattr(self, key)[:count] for key in ("file_names", "pose_of", "camera_of", "bbox")}
        return Frames(**{**self.__dict__, **cut})


def read_frames(root: Path, split: str, hands: tuple[HandModel, HandModel]) -> Frames:
    """All images of a split below `root` (which holds images/ and annotations/).

    Raises UserError for missing, unreadable or inconsistent annotation files.
    """
    if not root.is_dir():
        raise UserError(f"no data set at {root}: give --data a folder that holds annotations/ and images/")
    data, cameras, joints, mano = (
        _read_json(root / "annotations" / split / f"InterHand2.6M_{split}_{part}.json")
        for part in ("data", "camera", "joint_3d", "MANO_NeuralAnnot")
    )
    about = _read_json(root / "dataset.json") if (root / "dataset.json").is_file() else {}
    _check_hand_model(about, hands[0], root)
    try:
        return _to_arrays(root, split, hands, data, cameras, joints, mano, about)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(f"{root}: annotations of '{split}' are not in InterHand2.6M's format ({error!r})") from error


def _check_hand_model(about: dict[str, Any], hand: HandModel, root: Path) -> None:
    made_with = about.get("hand_model", {}).get("sha256")
    if made_with is not None and made_with != hand.sha256:
        raise UserError(f"{root} was made with another hand model than '{hand.name}': generate it again")


def _to_arrays(
    root: Path,
    split: str,
    hands: tuple[HandModel, HandModel],
    data: dict[str, Any],
    cameras: dict[str, Any],
    joints: dict[str, Any],
    mano: dict[str, Any],
    about: dict[str, Any],
) -> Frames:
    annotation_of = {annotation["image_id"]: annotation for annotation in data["annotations"]}
    pose_rows: dict[tuple[str, str], int] = {}
    camera_rows: dict[tuple[str, str], int] = {}
    file_names, pose_of, camera_of, bbox = [], [], [], []
    for image in data["images"]:
        capture = str(image["capture"])
        pose_key, camera_key = (capture, str(image["frame_idx"])), (capture, str(image["camera"]))
        file_names.append(image["file_name"])
        pose_of.append(pose_rows.setdefault(pose_key, len(pose_rows)))
        camera_of.append(camera_rows.setdefault(camera_key, len(camera_rows)))
        bbox.append(annotation_of[image["id"]]["bbox"])

    world, valid = _joint_arrays(joints, list(pose_rows))
    has_mano, pose, shape = _mano_arrays(mano, list(pose_rows))
    rotations = np.stack([_full_rotations(pose[:, side], hands[side]) for side in range(2)], axis=1)
    camera = [{key: cameras[c][key][k] for key in ("campos", "camrot", "focal", "princpt")} for c, k in camera_rows]
    return Frames(
        name=about.get("name", "InterHand2.6M"),
        synthetic=bool(about.get("synthetic", False)),
        image_root=root / "images" / split,
        file_names=np.array(file_names),
        pose_of=np.array(pose_of, np.int32),
        camera_of=np.array(camera_of, np.int32),
        bbox=np.array(bbox, np.float32).reshape(-1, 4),
        joints_world_m=world,
        joint_valid=valid,
        has_mano=has_mano,
        rotations_world=rotations,
        shape=shape,
        mano_joints_m=_mano_joints(hands, rotations, shape),
        camera_position_m=np.array([c["campos"] for c in camera], np.float32) / np.float32(1000),
        camera_rotation=np.array([c["camrot"] for c in camera], np.float32),
        focal_px=np.array([c["focal"] for c in camera], np.float32),
        principal_px=np.array([c["princpt"] for c in camera], np.float32),
    )


def _joint_arrays(joints: dict[str, Any], keys: list[tuple[str, str]]) -> tuple[Floats, NDArray[np.bool_]]:
    entries = [joints[capture][frame] for capture, frame in keys]
    world = np.array([e["world_coord"] for e in entries], np.float32).reshape(-1, 2, 21, 3) / np.float32(1000)
    valid = np.array([e["joint_valid"] for e in entries], bool).reshape(-1, 2, 21)
    return world[:, :, INTERHAND_TO_JOINTS], valid[:, :, INTERHAND_TO_JOINTS]


def _mano_arrays(mano: dict[str, Any], keys: list[tuple[str, str]]) -> tuple[NDArray[np.bool_], Floats, Floats]:
    has_mano = np.zeros((len(keys), 2), bool)
    pose = np.zeros((len(keys), 2, 48), np.float32)
    shape = np.zeros((len(keys), 2, 10), np.float32)
    for row, (capture, frame) in enumerate(keys):
        entry = mano.get(capture, {}).get(frame, {})
        for side, name in enumerate(SIDES):
            if (fit := entry.get(name)) is not None:
                has_mano[row, side] = True
                pose[row, side], shape[row, side] = fit["pose"], fit["shape"]
    return has_mano, pose, shape


def _full_rotations(pose: Floats, hand: HandModel) -> Floats:
    """(P, 48) axis-angle relative to hands_mean -> (P, 16, 3, 3)."""
    full = pose.copy()
    full[:, 3:] += hand.hands_mean
    return matrix_from_axis_angle(full.reshape(-1, 16, 3)).astype(np.float32)


def _mano_joints(hands: tuple[HandModel, HandModel], rotations: Floats, shape: Floats) -> Floats:
    joints = np.empty((*shape.shape[:2], 21, 3), np.float32)
    for side, hand in enumerate(hands):
        for start in range(0, len(shape), SKIN_BATCH):  # in batches: the vertices of all poses would not fit
            batch = slice(start, start + SKIN_BATCH)
            joints[batch, side] = skin(hand, rotations[batch, side], shape[batch, side])[1]
    return joints - joints[:, :, :1]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_ANNOTATION_BYTES:
            raise UserError(f"{path} is larger than any annotation file of InterHand2.6M")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} does not hold a JSON object")
    return content
