"""The readers of COCO-WholeBody, HInt and Re:InterHand, each on a made tree in the official layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.errors import UserError
from runtime.hand.joints import INTERHAND_TO_JOINTS, MANO_TO_JOINTS
from runtime.image.crop import crop_from_box
from tests.fixtures.picture_sets import (
    CAMERAS,
    CAPTURES,
    EMPTY,
    FAR,
    HANDS,
    HEIGHT,
    INDEX_TIP,
    WIDTH,
    coco_hand,
    hand_pose,
    joints_px,
    make_coco,
    make_hint,
    make_reinterhand,
    wrist_m,
)
from training.data.contact_sheet import draw_sheet
from training.data.dataset import open_frames
from training.data.frames import INTERACTING, NO_HAND, Frames
from training.data.readers.pictures import check_joint_order
from training.data.samples import load_sample

MAKERS = {"COCO-WholeBody": make_coco, "HInt": make_hint, "Re:InterHand": make_reinterhand}
SIZE = 160


@pytest.fixture(params=MAKERS)
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return MAKERS[request.param](tmp_path / request.param.replace(":", ""))


def opened(root: Path, split: str = "test") -> Frames:
    """In the order of the files, not that of the reader, which is drawn; pictures without hands last."""
    frames = open_frames(str(root), split, HANDS)
    return frames.subset(np.lexsort((frames.hand_type, frames.annotation_id % 1000)))


def test_each_is_known_by_its_files_and_its_labels_lie_on_the_picture(tree: Path) -> None:
    """The dot at an index finger's tip is where the label says; the next opening is that of the index."""
    frames = opened(tree)
    assert frames.name.replace(":", "") == tree.name and not frames.synthetic
    checked = 0
    for index in range(len(frames)):
        sample = load_sample(frames, index, SIZE)
        rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
        for side in range(2):
            if sample.joint_valid[side, INDEX_TIP]:
                dot = np.maximum(sample.image[..., 2 * side].astype(np.float64) - 0.3, 0)  # JPEG mixes colours
                seen = np.array([(dot * columns).sum(), (dot * rows).sum()]) / dot.sum() / SIZE
                # HInt's coordinates are taken as they are, and drawn from the centre of the first pixel.
                slack = (0.75 if frames.name == "HInt" else 0.25) / crop_from_box(frames.bbox[index], SIZE).size_px
                assert np.abs(seen - sample.points[side, INDEX_TIP]).max() < slack + 0.3 / SIZE
                checked += 1
    assert checked >= 4
    again = opened(tree)
    assert isinstance(again.joint_valid, np.memmap) and np.array_equal(again.bbox, frames.bbox)
    assert draw_sheet(frames, 4, 0).any()


def test_coco(tmp_path: Path) -> None:
    frames = opened(make_coco(tmp_path))
    names = [int(name[:12]) for name in frames.file_names]
    assert names == [1, FAR, FAR, 3, EMPTY]  # hands far apart are two samples, a crowd is none
    assert frames.hand_type.tolist() == [INTERACTING, 0, 1, 1, NO_HAND]
    truth = coco_hand(1, 0, (130, 120))
    assert np.array_equal(frames.points_px[0, 0, :20], truth[:20, :2] + 0.5)
    assert frames.joint_in_image[0, 0].tolist() == [True] * 20 + [False]
    assert np.flatnonzero(frames.occluded[0, 0]).tolist() == [4]
    samples = [load_sample(frames, index, SIZE) for index in range(5)]
    known = [list(zip(s.presence.tolist(), s.has_presence.tolist(), strict=True)) for s in samples]
    there, absent, unknown = (1, 1), (0, 1), (0, 0)
    assert known == [[there, there], [there, unknown], [unknown, there], [unknown, there], [absent, absent]]
    crop = crop_from_box(frames.bbox[4], SIZE)
    assert [*crop.center_px, crop.size_px] == pytest.approx([WIDTH / 2, HEIGHT / 2, WIDTH])


def test_coco_keeps_part_of_its_training_pictures_for_validation(tmp_path: Path) -> None:
    path = make_coco(tmp_path, "train") / "annotations" / "coco_wholebody_train_v1.0.json"
    content = json.loads(path.read_text())
    content["images"][0]["id"] = content["annotations"][0]["image_id"] = 150
    path.write_text(json.dumps(content))
    assert len(opened(tmp_path, "val")) == 1 and len(opened(tmp_path, "train")) == 4
    (tmp_path / "images").mkdir()
    (tmp_path / "train2017").rename(tmp_path / "images" / "train2017")  # as InterWild has it
    assert opened(tmp_path, "train").on_disk().all()
    with pytest.raises(UserError, match=r"cannot read .*coco_wholebody_val_v1\.0\.json"):
        opened(tmp_path)


def test_hint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = opened(make_hint(tmp_path / "HInt_annotation_partial").parent)
    assert "TEST_ego4d_img has no pictures" in capsys.readouterr().err
    assert [frames.kinds[kind] for kind in frames.kind_of] == ["newdays"] * 4 + ["epick"] * 4
    assert frames.hand_type.tolist() == [0, 1] * 4
    assert np.array_equal(frames.points_px[1, 1], joints_px(1, 1, (150, 110)))
    assert frames.joint_in_image[0, 0].tolist() == [True] * 20 + [False]
    assert np.flatnonzero(frames.occluded[0, 0]).tolist() == [1, 2, 3, 4]
    right, left = (load_sample(frames, index, SIZE).has_presence.tolist() for index in range(2))
    assert (right, left) == ([1, 0], [0, 1])  # of the other hand nothing is known


def test_reinterhand(tmp_path: Path) -> None:
    root = make_reinterhand(tmp_path)
    frames = opened(root)
    assert len(frames) == 6 and frames.hand_type.tolist() == [INTERACTING, INTERACTING, 0] * 2
    sample = load_sample(frames, 3, SIZE)  # the first moment, by the second camera
    turn = np.array(CAMERAS["400002"]["R"])
    for side in range(2):
        joints = hand_pose(2000 + 100, side)[2] @ turn.T
        assert np.abs(sample.joints[side] - joints).max() < 1e-5
        assert np.abs(sample.mano_joints[side] - joints).max() < 1e-5  # of the fit, on the same hand model
    assert np.abs(sample.relative_translation - turn @ (wrist_m(1) - wrist_m(0))).max() < 1e-5
    single = load_sample(frames, 2, SIZE)
    assert single.has_presence.tolist() == [1, 1] and single.presence.tolist() == [1, 0]
    assert single.has_mano.tolist() == [1, 0] and not single.has_translation
    folders = {opened(root, split).folders[0].partition("/")[0] for split in ("train", "val", "test")}
    assert folders == set(CAPTURES)
    (root / CAPTURES[0]).rename(tmp_path.parent / "aside")
    assert len(opened(root, "train")) == 6
    with pytest.raises(UserError, match="no capture of Re:InterHand's 'val': it needs two"):
        opened(root, "val")


def changed(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


COCO = "annotations/coco_wholebody_val_v1.0.json"
HINT = "TEST_epick_img/P0_r.json"
KEYPOINTS = f"{CAPTURES[2]}/orig_fits/right/Keypoints/keypoint-000100.json"


@pytest.mark.parametrize(
    ("maker", "file", "change", "message"),
    [
        (make_coco, COCO, lambda c: c["annotations"][0].pop("lefthand_kpts"), r"format .KeyError..lefthand_kpts"),
        (make_coco, COCO, lambda c: c["annotations"][0]["lefthand_kpts"].extend([1, 2, 3]), "of 22 joints, not of 21"),
        (make_coco, COCO, lambda c: c["annotations"].clear(), "no hand is labelled"),
        (make_hint, HINT, lambda c: c[0].pop("keypoints"), "P0_r.json is not in HInt's format"),
        (make_hint, HINT, lambda c: c[0].update(keypoints=[[1, 1]] * 21), "no extent"),
        (make_reinterhand, KEYPOINTS, lambda c: c.pop(), r"keypoint-000100.json has joints of shape \(23, 3\)"),
        (make_reinterhand, f"{CAPTURES[2]}/mano_fits/params/100_left.json", lambda c: c.pop("pose"), "format"),
    ],
)
def test_what_is_missing_or_odd_is_named_in_one_line(
    tmp_path: Path, maker: Callable[[Path], Path], file: str, change: Callable[[Any], None], message: str
) -> None:
    changed(maker(tmp_path) / file, change)
    with pytest.raises(UserError, match=message) as caught:
        opened(tmp_path)
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"is no data set that can be read .*InterHand2\.6M: annotations/.*HIC: HIC\.json"
    ):
        opened(tmp_path)
    make_hint(tmp_path)
    for path in tmp_path.glob("VAL_*"):
        path.rename(tmp_path / f"aside_{path.name}")
    with pytest.raises(UserError, match="HInt's 'val' is missing"):
        opened(tmp_path, "val")
    root = make_reinterhand(tmp_path / "relit")
    (root / CAPTURES[2] / "mano_fits").rename(root / "aside")
    with pytest.raises(UserError, match=r"cannot read .*mano_fits.params"):
        opened(root)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("order", [INTERHAND_TO_JOINTS, MANO_TO_JOINTS], ids=["tips", "mano"])
def test_another_order_of_joints_is_noticed(order: np.ndarray, inverse: bool) -> None:
    hands = np.stack([joints_px(seed, seed % 2, (100, 100)) for seed in range(20)])
    valid = np.ones((20, 21), bool)
    check_joint_order(hands, valid, "made")
    with pytest.raises(UserError, match="made: joints are in another order"):
        check_joint_order(hands[:, np.argsort(order) if inverse else order], valid, "made")
