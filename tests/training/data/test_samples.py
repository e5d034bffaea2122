"""Samples: the runner's crop, labels that stay on the picture under every augmentation, masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.crop import crop_from_box
from runtime.hand_model import load_hand_models, skin
from training.data.augment import Augmentation, AugmentSpec, draw, recolour
from training.data.interhand import Frames, read_frames
from training.data.samples import MIRROR, load_crop, load_sample, read_rgb

HANDS = load_hand_models()
NONE = Augmentation(0.0, 1.0, np.zeros(2), False, np.ones(3, np.float32), 0.0, False)
SIZE = 192


@pytest.fixture(scope="module")
def frames(synthetic_root: Path) -> Frames:
    return read_frames(synthetic_root, "train", HANDS)


@pytest.fixture(scope="module")
def both(frames: Frames) -> int:
    """An image with both hands."""
    return int(np.flatnonzero(frames.has_mano[frames.pose_of].all(axis=1))[0])


@pytest.fixture(scope="module")
def single(frames: Frames) -> int:
    """An image with a right hand only."""
    there = frames.has_mano[frames.pose_of]
    return int(np.flatnonzero(there[:, 0] & ~there[:, 1])[0])


def test_without_augmentation_the_crop_is_the_runners(frames: Frames, both: int) -> None:
    crop = crop_from_box(frames.bbox[both], SIZE)
    expected = crop.apply(read_rgb(frames, both))
    assert np.array_equal(load_crop(frames, both, SIZE), expected)
    assert np.array_equal((load_sample(frames, both, SIZE).image * 255).round().astype(np.uint8), expected)


def test_the_augmented_path_without_a_change_is_the_same(frames: Frames, both: int) -> None:
    plain, same = load_sample(frames, both, SIZE), load_sample(frames, both, SIZE, NONE)
    assert np.abs(plain.image - same.image).max() < 2 / 255
    assert np.allclose(plain.points, same.points, atol=1e-6) and np.allclose(plain.joints, same.joints, atol=1e-7)


def test_labels_agree_among_themselves(frames: Frames, both: int) -> None:
    sample = load_sample(frames, both, SIZE)
    for side, hand in enumerate(HANDS):
        _, joints = skin(hand, sample.rotations[side], sample.shape[side])
        assert np.abs(joints - joints[0] - sample.mano_joints[side]).max() < 1e-5
    assert np.abs(sample.joints - sample.mano_joints).max() < 1e-5


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"angle_rad": 0.5},
        {"scale": 1.3},
        {"shift": np.array([0.1, -0.07])},
        {"flip": True},
        {"angle_rad": -0.3, "scale": 0.85, "shift": np.array([-0.05, 0.08]), "flip": True},
    ],
)
def test_labels_stay_on_the_picture(frames: Frames, both: int, change: dict, tmp_path: Path) -> None:
    """A dot drawn at a joint into the full image must appear in the crop where the label says."""
    import cv2

    pose, camera = frames.pose_of[both], frames.camera_of[both]
    joints = (frames.joints_world_m[pose] - frames.camera_position_m[camera]) @ frames.camera_rotation[camera].T
    pixels = joints[..., :2] / joints[..., 2:] * frames.focal_px[camera] + frames.principal_px[camera]
    height, width = read_rgb(frames, both).shape[:2]
    folder = tmp_path / Path(str(frames.file_names[both])).parent
    folder.mkdir(parents=True)
    blank = replace(frames, image_root=tmp_path, file_names=np.char.replace(frames.file_names, ".jpg", ".png"))
    rows, columns = np.mgrid[:height, :width] + 0.5
    for side, joint in ((0, 0), (0, 20), (1, 8)):
        x, y = pixels[side, joint]
        dot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 3.0**2))
        path = tmp_path / str(blank.file_names[both])
        cv2.imwrite(str(path), np.repeat(dot[..., None], 3, axis=2).astype(np.uint8))
        sample = load_sample(blank, both, SIZE, replace(NONE, **change))
        weights = sample.image[..., 0].astype(np.float64)
        crop_rows, crop_columns = np.mgrid[:SIZE, :SIZE] + 0.5
        seen = np.array([(weights * crop_columns).sum(), (weights * crop_rows).sum()]) / weights.sum() / SIZE
        label_side = 1 - side if change.get("flip") else side
        assert np.abs(seen - sample.points[label_side, joint]).max() < 0.5 / SIZE


def test_augmented_geometry_is_rigid(frames: Frames, both: int) -> None:
    """Turned and mirrored labels still skin to their own joints, up to the mirror image of the other hand."""
    change = replace(NONE, angle_rad=0.4, flip=True)
    plain, turned = load_sample(frames, both, SIZE), load_sample(frames, both, SIZE, change)
    for side, hand in enumerate(HANDS):
        _, joints = skin(hand, turned.rotations[side], turned.shape[side])
        assert np.abs(joints - joints[0] - turned.joints[side]).max() < 1e-5
    cos, sin = np.cos(0.4), np.sin(0.4)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    assert np.abs(turned.joints[0] - plain.joints[1] @ turn.T @ MIRROR).max() < 1e-6
    expected = -(MIRROR @ turn @ plain.relative_translation)
    assert np.abs(turned.relative_translation - expected).max() < 1e-6


def test_a_single_hand_is_masked(frames: Frames, single: int) -> None:
    sample = load_sample(frames, single, SIZE)
    assert sample.presence.tolist() == [1, 0] and sample.has_mano.tolist() == [1, 0]
    assert float(sample.has_translation) == 0 and not sample.relative_translation.any()
    assert not sample.joint_valid[1].any() and not sample.joints[1].any() and np.isfinite(sample.points).all()
    flipped = load_sample(frames, single, SIZE, replace(NONE, flip=True))
    assert flipped.presence.tolist() == [0, 1] and flipped.joint_valid[1].all()


def test_colours() -> None:
    image = np.full((4, 4, 3), 100, np.uint8)
    gain = np.array([1.2, 1.0, 0.8], np.float32)
    assert recolour(image, replace(NONE, gain=gain, offset=0.1))[0, 0].tolist() == pytest.approx(
        [100 / 255 * 1.2 + 0.1, 100 / 255 + 0.1, 100 / 255 * 0.8 + 0.1], abs=1e-5
    )
    gray = recolour(image, replace(NONE, gain=gain, gray=True))
    assert np.ptp(gray, axis=2).max() == 0
    assert recolour(image, replace(NONE, offset=2.0)).max() == 1.0


def test_draws_are_seeded_and_within_their_ranges() -> None:
    spec = AugmentSpec()
    draws = [draw(spec, np.random.default_rng(i)) for i in range(300)]
    again = draw(spec, np.random.default_rng(7))
    assert again.angle_rad == draws[7].angle_rad and np.array_equal(again.shift, draws[7].shift)
    assert max(abs(d.angle_rad) for d in draws) <= np.deg2rad(spec.rotation_deg) + 1e-9
    assert 0.3 < np.mean([d.flip for d in draws]) < 0.7
