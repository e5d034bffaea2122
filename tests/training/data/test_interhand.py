"""The reader of InterHand2.6M's annotation files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import UserError
from runtime.hand_model import load_hand_models, skin
from runtime.joints import INTERHAND_TO_JOINTS, WRIST
from training.data.interhand import Frames, read_frames

HANDS = load_hand_models()


@pytest.fixture(scope="module")
def frames(synthetic_root: Path) -> Frames:
    return read_frames(synthetic_root, "train", HANDS)


def annotations(root: Path, part: str) -> Path:
    return root / "annotations" / "train" / f"InterHand2.6M_train_{part}.json"


@pytest.fixture
def copy(synthetic_root: Path, tmp_path: Path) -> Path:
    """Annotations that a test may damage; the images stay where they are."""
    shutil.copytree(synthetic_root / "annotations", tmp_path / "annotations")
    shutil.copy(synthetic_root / "dataset.json", tmp_path / "dataset.json")
    return tmp_path


def test_says_that_it_is_synthetic(frames: Frames) -> None:
    assert frames.synthetic and frames.name.startswith("SynthHands")


def test_mano_fits_and_joint_annotations_agree(frames: Frames) -> None:
    wrist_relative = frames.joints_world_m - frames.joints_world_m[:, :, WRIST : WRIST + 1]
    there = frames.has_mano
    assert there.any() and not there.all()  # single hands are among them
    assert np.abs(wrist_relative - frames.mano_joints_m)[there].max() < 1e-5
    assert (frames.joint_valid.any(axis=-1) == there).all()


def test_rotations_and_shapes_skin_to_the_annotated_joints(frames: Frames) -> None:
    row = int(np.flatnonzero(frames.has_mano.all(axis=1))[0])
    for side, hand in enumerate(HANDS):
        _, joints = skin(hand, frames.rotations_world[row, side], frames.shape[row, side])
        annotated = frames.joints_world_m[row, side]
        assert np.abs((joints - joints[0]) - (annotated - annotated[0])).max() < 1e-5


def test_joint_order(frames: Frames, synthetic_root: Path) -> None:
    # InterHand lists the tip first and the wrist last; the project starts at the wrist.
    joints = json.loads(annotations(synthetic_root, "joint_3d").read_text())
    data = json.loads(annotations(synthetic_root, "data").read_text())
    image = data["images"][0]
    world = np.array(joints[str(image["capture"])][str(image["frame_idx"])]["world_coord"]).reshape(2, 21, 3) / 1000
    read = frames.joints_world_m[frames.pose_of[0]]
    assert np.abs(read[:, WRIST] - world[:, 20]).max() < 1e-6
    assert np.abs(read - world[:, INTERHAND_TO_JOINTS]).max() < 1e-6


def test_joints_project_into_the_box(frames: Frames) -> None:
    for i in range(len(frames)):
        pose, camera = frames.pose_of[i], frames.camera_of[i]
        rotation, position = frames.camera_rotation[camera], frames.camera_position_m[camera]
        joints = (frames.joints_world_m[pose] - position) @ rotation.T
        points = joints[..., :2] / joints[..., 2:] * frames.focal_px[camera] + frames.principal_px[camera]
        points = points[frames.joint_valid[pose]]
        x, y, width, height = frames.bbox[i]
        assert (points >= (x - 1e-3, y - 1e-3)).all() and (points <= (x + width + 1e-3, y + height + 1e-3)).all()


def test_first(frames: Frames) -> None:
    assert len(frames.first(5)) == 5
    assert frames.first(5).file_names.tolist() == frames.file_names[:5].tolist()
    with pytest.raises(UserError, match="are needed"):
        frames.first(10_000)


def test_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no data set at"):
        read_frames(tmp_path / "nowhere", "train", HANDS)
    with pytest.raises(UserError, match="cannot read"):
        read_frames(tmp_path, "train", HANDS)


@pytest.mark.parametrize("part", ["data", "camera", "joint_3d", "MANO_NeuralAnnot"])
@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b'{"images": [{"id": 1}]}', b"[" * 100_000])
def test_damaged_annotations(copy: Path, part: str, content: bytes) -> None:
    annotations(copy, part).write_bytes(content)
    if part == "MANO_NeuralAnnot" and content.startswith(b'{"images'):
        assert not read_frames(copy, "train", HANDS).has_mano.any()  # no fit of any hand is no damage
        return
    with pytest.raises(UserError) as caught:
        read_frames(copy, "train", HANDS)
    assert "\n" not in str(caught.value)


def test_another_hand_model_is_refused(copy: Path) -> None:
    about = json.loads((copy / "dataset.json").read_text())
    about["hand_model"]["sha256"] = "0" * 64
    (copy / "dataset.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match="another hand model"):
        read_frames(copy, "train", HANDS)


def test_without_a_note_it_is_interhand(copy: Path) -> None:
    (copy / "dataset.json").unlink()
    frames = read_frames(copy, "train", HANDS)
    assert (frames.name, frames.synthetic) == ("InterHand2.6M", False)
