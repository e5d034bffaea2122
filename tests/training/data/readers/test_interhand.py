"""The reader of InterHand2.6M's annotation files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models, skin
from runtime.hand.joints import INTERHAND_TO_JOINTS, WRIST
from training.data.frames import HAND_TYPES, Frames, drop_missing
from training.data.readers.interhand import read_frames
from training.data.samples import load_sample
from training.data.synthhands.table import CATEGORIES

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


@pytest.fixture
def change(copy: Path) -> Callable[[str, Callable[[Any], None]], None]:
    """Change a part of the copy in place."""

    def apply(part: str, edit: Callable[[Any], None]) -> None:
        content = json.loads(annotations(copy, part).read_text())
        edit(content)
        annotations(copy, part).write_text(json.dumps(content))

    return apply


def test_labels_are_those_of_the_files(frames: Frames, synthetic_root: Path) -> None:
    """InterHand lists a hand's tips first and its wrist last; the project starts at the wrist."""
    assert frames.synthetic and frames.name.startswith("SynthHands")
    data, joints = (json.loads(annotations(synthetic_root, part).read_text()) for part in ("data", "joint_3d"))
    assert frames.annotation_id.tolist() == [a["id"] for a in data["annotations"]]
    assert [HAND_TYPES[kind] for kind in frames.hand_type] == [a["hand_type"] for a in data["annotations"]]
    assert set(frames.hand_type) == {0, 1, 2, 3} and frames.hand_type_valid.all()
    there = np.array([[True, False], [False, True], [True, True], [False, False]])[frames.hand_type]
    for index, (image, annotation) in enumerate(zip(data["images"], data["annotations"], strict=True)):
        pose = frames.pose_of[index]
        world = joints[str(image["capture"])][str(image["frame_idx"])]["world_coord"]
        expected = np.array(world).reshape(2, 21, 3)[:, INTERHAND_TO_JOINTS] / 1000
        read = frames.joints_world_m[pose]
        assert np.abs(read - expected).max() < 1e-6
        assert (frames.joint_valid[pose].any(axis=1) == there[index]).all()
        assert frames.file_names[index].decode() == image["file_name"] and frames.bbox[index].tolist() == pytest.approx(
            annotation["bbox"], abs=1e-3
        )


def test_fits_skin_to_the_annotated_joints(frames: Frames) -> None:
    assert (frames.joint_valid.any(axis=-1) == frames.has_mano).all() and not frames.has_mano.all()
    for row, side in np.argwhere(frames.has_mano):
        _, joints = skin(HANDS[side], frames.rotations_world[row, side], frames.shape[row, side])
        annotated = frames.joints_world_m[row, side]
        for relative in (joints - joints[WRIST], frames.mano_joints_m[row, side]):
            assert np.abs(relative - (annotated - annotated[WRIST])).max() < 1e-5


@pytest.mark.parametrize("part", ["data", "camera", "joint_3d", "MANO_NeuralAnnot"])
@pytest.mark.parametrize("content", [b"", b"[1, 2]", b'{"images": [{"id": 1}]}'])
def test_damaged_annotations(copy: Path, part: str, content: bytes) -> None:
    annotations(copy, part).write_bytes(content)
    if part == "MANO_NeuralAnnot" and content.startswith(b'{"images'):
        assert not read_frames(copy, "train", HANDS).has_mano.any()  # no fit of any hand is no damage
        return
    with pytest.raises(UserError) as caught:
        read_frames(copy, "train", HANDS)
    assert "\n" not in str(caught.value)


def test_another_hand_model_is_refused(copy: Path) -> None:
    """As the set's note has it; without a note it is InterHand2.6M."""
    about = json.loads((copy / "dataset.json").read_text())
    about["hand_model"]["sha256"] = "0" * 64
    (copy / "dataset.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match="another hand model"):
        read_frames(copy, "train", HANDS)
    (copy / "dataset.json").unlink()
    frames = read_frames(copy, "train", HANDS)
    assert (frames.name, frames.synthetic) == ("InterHand2.6M", False)


# What the official files hold that the synthetic ones do not.


def test_missing_fits(copy: Path, change: Callable) -> None:
    """null, a frame that is not in the file, a capture that is not, numbers that are none."""
    frames = read_frames(copy, "train", HANDS)
    both = np.flatnonzero(frames.has_mano.all(axis=1))[:3]
    keys = [key_of_pose(frames, row) for row in both]

    def edit(mano: Any) -> None:
        mano[keys[0][0]][keys[0][1]]["left"] = None
        del mano[keys[1][0]][keys[1][1]]
        mano[keys[2][0]][keys[2][1]]["right"]["shape"][3] = float("nan")

    change("MANO_NeuralAnnot", edit)
    has_mano = read_frames(copy, "train", HANDS).has_mano
    assert has_mano[both].tolist() == [[True, False], [False, False], [False, True]]
    assert np.isfinite(read_frames(copy, "train", HANDS).mano_joints_m).all()
    change("MANO_NeuralAnnot", lambda mano: mano.clear())
    assert not read_frames(copy, "train", HANDS).has_mano.any()


def key_of_pose(frames: Frames, row: int) -> tuple[str, str]:
    root = frames.image_root.parent.parent
    image = images_of(root)[int(np.flatnonzero(frames.pose_of == row)[0])]
    return str(image["capture"]), str(image["frame_idx"])


def test_invalid_joints(copy: Path, change: Callable) -> None:
    """What joint_3d lacks is a pose's; what an annotation lacks is one picture's."""
    before = read_frames(copy, "train", HANDS)
    row = int(np.flatnonzero(before.has_mano.all(axis=1))[0])
    first = int(np.flatnonzero(before.pose_of == row)[0])
    key = key_of_pose(before, row)

    def unannotate(joints: Any) -> None:
        entry = joints[key[0]][key[1]]
        entry["joint_valid"][20] = [0]  # the right wrist
        entry["world_coord"][0][2] = float("nan")  # the right thumb's tip

    def leave(data: Any) -> None:
        data["annotations"][first + 1]["joint_valid"] = [0] * 42  # flat, as in the official files
        data["annotations"][first + 1]["hand_type_valid"] = 0
        data["annotations"][first + 2]["joint_valid"] = [[int(k not in (20, 21))] for k in range(42)]

    change("joint_3d", unannotate)
    change("data", leave)
    frames = read_frames(copy, "train", HANDS)
    assert np.argwhere(before.joint_valid & ~frames.joint_valid).tolist() == [[row, 0, 0], [row, 0, 4]]
    assert np.isfinite(frames.joints_world_m).all()
    rest = slice(first + 3, None)
    assert not frames.joint_in_image[first + 1].any()
    assert (frames.joint_in_image[rest] == before.joint_in_image[rest]).all()
    # The right wrist and the left thumb's tip are InterHand's 20 and 21.
    assert np.argwhere(~frames.joint_in_image[first + 2]).tolist() == [[0, 0], [1, 4]]
    assert not frames.hand_type_valid[first + 1] and frames.hand_type_valid[first + 2 :].all()


@pytest.mark.parametrize("bad", [[5, 5, 0, 20], [5, 5, -3, 20], [0, 0, 1e9, 20]])
def test_pictures_without_a_usable_box_are_left_out(
    copy: Path, change: Callable, capsys: pytest.CaptureFixture[str], bad: list[float]
) -> None:
    names = read_frames(copy, "train", HANDS).file_names.tolist()

    def edit(data: Any) -> None:
        data["annotations"][3]["bbox"] = bad
        del data["annotations"][7]
        data["annotations"].reverse()  # their order is free

    change("data", edit)
    frames = read_frames(copy, "train", HANDS)
    assert frames.file_names.tolist() == [name for i, name in enumerate(names) if i not in (3, 7)]
    assert "2 of 48 images have no annotation or no usable box" in capsys.readouterr().err
    assert frames.annotation_id.tolist() == [i["id"] for k, i in enumerate(images_of(copy)) if k not in (3, 7)]


def images_of(root: Path) -> Any:
    return json.loads(annotations(root, "data").read_text())["images"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: data["images"].append(data["images"][0]),
        lambda data: data["annotations"][0].update(hand_type="foot"),
        lambda data: data["annotations"][0].update(joint_valid=[1] * 41),
        lambda data: data["images"][0].update(file_name="../../etc/passwd"),
        lambda data: data["images"][0].update(frame_idx=-1),
        lambda data: data.update(images=[], annotations=[]),
    ],
)
def test_inconsistent_annotations(copy: Path, change: Callable, edit: Callable[[Any], None]) -> None:
    change("data", edit)
    with pytest.raises(UserError, match=r"not in InterHand2\.6M's format") as caught:
        read_frames(copy, "train", HANDS)
    assert "\n" not in str(caught.value)


def test_what_is_not_there(copy: Path) -> None:
    with pytest.raises(UserError, match="no data set at"):
        read_frames(copy / "nowhere", "train", HANDS)
    with pytest.raises(UserError, match="cannot read"):
        read_frames(copy / "annotations", "train", HANDS)


@pytest.mark.parametrize("cut_at", ["folders", "pictures"])
def test_several_archives(copy: Path, synthetic_root: Path, cut_at: str) -> None:
    """Pictures are found wherever they were unpacked to; what the folders are called says nothing."""
    (copy / "dataset.json").unlink()
    archives = ("InterHand2.6M_30fps_batch0", "InterHand2.6M_30fps_batch1", "more/of it", "empty")
    names = sorted(path.relative_to(synthetic_root) for path in (synthetic_root / "images" / "train").rglob("*.jpg"))
    parents = sorted({name.parent for name in names})
    for number, name in enumerate(names):
        archive = archives[(number if cut_at == "pictures" else parents.index(name.parent)) % 3]
        (copy / archive / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(synthetic_root / name, copy / archive / name)
    (copy / archives[-1] / "images" / "train").mkdir(parents=True)
    frames = read_frames(copy, "train", HANDS)
    assert frames.name == "InterHand2.6M" and drop_missing(frames) == (frames, [])
    assert len(set(frames.folder_of)) == 3
    gone = frames.path(7)
    gone.unlink()
    assert drop_missing(read_frames(copy, "train", HANDS).first(8))[1] == [frames.file_names[7].decode()]


def test_categories_and_pictures_without_hands(
    copy: Path, change: Callable, synthetic_root: Path, frames: Frames
) -> None:
    assert frames.kind_of is not None and set(frames.kinds) <= set(CATEGORIES)

    def edit(data: Any) -> None:
        for number, image in enumerate(data["images"]):
            image["category"] = ("desk", "street")[number % 2]
        data["annotations"][5] |= {"hand_type": "none", "joint_valid": [0] * 42}

    change("data", edit)
    named = replace(read_frames(copy, "train", HANDS), image_root=frames.image_root)
    assert named.kinds == ("desk", "street") and named.kind_of[:4].tolist() == [0, 1, 0, 1]
    sample = load_sample(named, 5, 64)
    assert sample.presence.tolist() == [0, 0] and sample.has_presence.tolist() == [1, 1]
