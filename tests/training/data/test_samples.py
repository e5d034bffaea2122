"""Samples: the runner's crop, labels that stay on the picture under every augmentation, masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.hand.hand_model import load_hand_models, skin
from runtime.image.crop import crop_from_box
from training.data.augment import Augmentation, recolour
from training.data.frames import Frames
from training.data.readers.interhand import read_frames
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
    expected = crop_from_box(frames.bbox[both], SIZE).apply(read_rgb(frames, both))
    assert np.array_equal(load_crop(frames, both, SIZE), expected)
    plain, same = load_sample(frames, both, SIZE), load_sample(frames, both, SIZE, NONE)
    assert np.array_equal((plain.image * 255).round().astype(np.uint8), expected)
    assert np.abs(plain.image - same.image).max() < 2 / 255
    assert np.allclose(plain.points, same.points, atol=1e-6) and np.allclose(plain.joints, same.joints, atol=1e-7)


CHANGES = {
    "crop": {},
    "flip": {"flip": True},
    "colour": {"gain": np.array([0.8, 0.7, 0.9], np.float32), "offset": 0.0},
    "all": {"angle_rad": -0.3, "scale": 0.85, "shift": np.array([-0.05, 0.08]), "flip": True},
}


@pytest.fixture(params=CHANGES.values(), ids=CHANGES)
def change(request: pytest.FixtureRequest) -> Augmentation:
    return replace(NONE, **request.param)


def project(frames: Frames, index: int, joints_camera_m: np.ndarray) -> np.ndarray:
    """Joints in camera axes (..., 3) -> pixels of the image."""
    camera = frames.camera_of[index]
    return joints_camera_m[..., :2] / joints_camera_m[..., 2:] * frames.focal_px[camera] + frames.principal_px[camera]


def in_camera(frames: Frames, index: int) -> np.ndarray:
    """Annotated joints (2, 21, 3) in camera axes, m."""
    pose, camera = frames.pose_of[index], frames.camera_of[index]
    return (frames.joints_world_m[pose] - frames.camera_position_m[camera]) @ frames.camera_rotation[camera].T


def test_every_label_stays_on_the_picture(frames: Frames, both: int, change: Augmentation, tmp_path: Path) -> None:
    """Dots drawn into the full image at the joints, one colour each, appear in the crop where the labels say."""
    import cv2

    pixels = project(frames, both, in_camera(frames, both)).reshape(42, 2)
    height, width = read_rgb(frames, both).shape[:2]
    name = frames.file_names[both].decode()
    (tmp_path / name).parent.mkdir(parents=True)
    marked = replace(frames, image_root=tmp_path)
    rows, columns = np.mgrid[:height, :width] + 0.5
    crop_rows, crop_columns = np.mgrid[:SIZE, :SIZE] + 0.5
    seen = 0
    for first in range(0, 42, 3):
        three = pixels[first : first + 3]
        dots = [255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 3.0**2)) for x, y in three]
        written = cv2.imencode(".png", np.stack(dots[::-1], axis=-1).astype(np.uint8))[1]
        (tmp_path / name).write_bytes(written.tobytes())
        sample = load_sample(marked, both, SIZE, change)
        for channel in range(3):
            side, joint = divmod(first + channel, 21)
            label = sample.points[1 - side if change.flip else side, joint]
            if (np.abs(label - 0.5) > 0.5 - 0.08).any():
                continue  # the dot is cut by the crop's edge
            weight = sample.image[..., channel].astype(np.float64)
            found = np.array([(weight * crop_columns).sum(), (weight * crop_rows).sum()]) / weight.sum() / SIZE
            assert np.abs(found - label).max() < 0.5 / SIZE
            seen += 1
    assert seen > 30


def test_labels_in_space_project_onto_those_in_the_crop(frames: Frames, both: int, change: Augmentation) -> None:
    """Turned and mirrored back, put at the wrist and projected, 3D labels are the 2D ones in the crop, by another path:
    the crop's matrix is OpenCV's own."""
    import cv2

    sample = load_sample(frames, both, SIZE, change)
    joints, translation = sample.joints, sample.relative_translation
    if change.flip:
        joints, translation = joints[::-1] @ MIRROR, -translation @ MIRROR
    cos, sin = np.cos(change.angle_rad), np.sin(change.angle_rad)
    back = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])  # as row @ turn undoes turn @ column
    wrist = in_camera(frames, both)[0, 0]
    wrists = np.stack([wrist, wrist + translation @ back])
    pixels = project(frames, both, joints @ back + wrists[:, None])

    crop = crop_from_box(frames.bbox[both], SIZE)
    x, y = (float(v) for v in crop.center_px)
    matrix = cv2.getRotationMatrix2D((x, y), -np.rad2deg(change.angle_rad), change.scale * SIZE / crop.size_px)
    matrix[:, 2] += SIZE * (0.5 + change.shift) - (x, y)
    points = (pixels @ matrix[:, :2].T + matrix[:, 2]) / SIZE
    if change.flip:
        points = (points * (-1, 1) + (1, 0))[::-1]
    assert np.abs(points - sample.points).max() < 0.1 / SIZE


def test_flip_exchanges_every_label(frames: Frames, single: int) -> None:
    """A right hand becomes a left hand in every field, and its mesh the mirror image."""
    plain, flipped = load_sample(frames, single, SIZE), load_sample(frames, single, SIZE, replace(NONE, flip=True))
    for field in ("presence", "has_presence", "joint_valid", "joint_valid_3d", "has_mano", "shape"):
        assert np.array_equal(getattr(flipped, field), getattr(plain, field)[::-1]), field
    for field in ("joints", "mano_joints"):
        assert np.allclose(getattr(flipped, field), getattr(plain, field)[::-1] @ MIRROR, atol=1e-6), field
    assert np.allclose(flipped.points[1], plain.points[0] * (-1, 1) + (1, 0), atol=1e-6) and not flipped.points[0].any()
    right = skin(HANDS[0], plain.rotations[0], plain.shape[0])[0]
    left = skin(HANDS[1], flipped.rotations[1], flipped.shape[1])[0]
    assert np.abs(left - right @ MIRROR).max() < 1e-5


def test_a_single_hand_is_masked(frames: Frames, single: int) -> None:
    sample = load_sample(frames, single, SIZE)
    assert sample.presence.tolist() == [1, 0] and sample.has_mano.tolist() == [1, 0]
    assert float(sample.has_translation) == 0 and not sample.relative_translation.any()
    assert not sample.joint_valid[1].any() and not sample.joints[1].any() and np.isfinite(sample.points).all()


def test_what_is_not_annotated_is_masked(frames: Frames, both: int) -> None:
    """Joints out of the picture have a place in space, but none in the crop; without a wrist, none in space."""
    seen, valid = np.ones((len(frames), 2, 21), bool), frames.joint_valid.copy()
    seen[both, 1, 5:9] = False
    valid[frames.pose_of[both], 0, 0] = False
    marked = replace(frames, joint_in_image=seen, joint_valid=valid)
    for flip in (False, True):
        sample = load_sample(marked, both, SIZE, replace(NONE, flip=flip))
        right, left = (1, 0) if flip else (0, 1)
        assert np.argwhere(sample.joint_valid[left] == 0).ravel().tolist() == [5, 6, 7, 8]
        assert not sample.points[left, 5:9].any()
        assert sample.joint_valid_3d[left].all() and sample.joints[left, 5:9].any()
        assert sample.joint_valid[right].sum() == 20 and not sample.has_translation
        assert not sample.joint_valid_3d[right].any() and not sample.joints[right].any()


def test_presence_is_the_hand_types(frames: Frames, both: int) -> None:
    """Two hands of which one could not be annotated: still two, but whether the second is seen is not known."""
    valid, hand_type_valid = frames.joint_valid.copy(), frames.hand_type_valid.copy()
    valid[frames.pose_of[both], 1] = False
    hand_type_valid[both] = False
    half = replace(frames, joint_valid=valid, hand_type_valid=hand_type_valid)
    sample = load_sample(half, both, SIZE)
    assert sample.presence.tolist() == [1, 1] and sample.has_presence.tolist() == [1, 0]
    flipped = load_sample(half, both, SIZE, replace(NONE, flip=True))
    assert flipped.presence.tolist() == [1, 1] and flipped.has_presence.tolist() == [0, 1]
    assert load_sample(frames, both, SIZE).has_presence.tolist() == [1, 1]


def test_colours() -> None:
    image = np.full((4, 4, 3), 100, np.uint8)
    gain = np.array([1.2, 1.0, 0.8], np.float32)
    assert recolour(image, replace(NONE, gain=gain, offset=0.1))[0, 0].tolist() == pytest.approx(
        [100 / 255 * 1.2 + 0.1, 100 / 255 + 0.1, 100 / 255 * 0.8 + 0.1], abs=1e-5
    )
    gray = recolour(image, replace(NONE, gain=gain, gray=True))
    assert np.ptp(gray, axis=2).max() == 0
    assert recolour(image, replace(NONE, offset=2.0)).max() == 1.0
