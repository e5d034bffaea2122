"""Decoding against numbers worked out by hand."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from runtime.backends.contract import Heatmap
from runtime.errors import UserError
from runtime.hand.decode import decode, heatmap_joints
from runtime.hand.hand_model import HandPair, load_hand_models, skin
from runtime.hand.rotations import matrix_from_axis_angle
from runtime.image.crop import Crop

HEATMAP = Heatmap(depth=8, height=7, width=4, depth_range_m=0.4)
CROP = Crop(np.array([100.0, 200.0]), 80.0, 40)  # spans x 60..140, y 160..240


def outputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    rotations = matrix_from_axis_angle(rng.normal(0, 0.4, (1, 2, 16, 3)))
    values = {
        "rotation6d": np.concatenate([rotations[..., 0] * 3, rotations[..., 1] * 0.5], axis=-1),
        "shape": rng.normal(0, 1, (1, 2, 10)),
        "camera": np.array([[[2.0, 0.25, 0.5], [3.0, 0.75, 0.5]]]),
        "joints_image": np.zeros((1, 2, 21, 3)),
        "relative_translation": np.zeros((1, 3)),
        "presence": np.array([[0.0, 2.0]]),
    }
    return {name: value.astype(np.float32) for name, value in values.items()}


@pytest.fixture(scope="module")
def models() -> HandPair:
    return load_hand_models()


def test_heatmap_joints_by_hand() -> None:
    cells = np.zeros((2, 21, 3))
    cells[0, 0] = [1.5, 3.0, 3.5]  # the middle of 4 x 7 cells and of 8 bins
    cells[1, 5] = [-0.5, 6.5, 7.5]  # a corner of the crop, the far end of the range
    joints = heatmap_joints(cells, CROP, HEATMAP)
    assert_allclose(joints[0, 0], [100, 200, 0], atol=1e-5)
    assert_allclose(joints[1, 5], [60, 240, 0.2], atol=1e-5)


def test_camera_meets_heat_maps_halfway(models: HandPair) -> None:
    raw = outputs()
    before = decode(raw, CROP, HEATMAP, models)[0]
    seen = before.camera[0] * before.joints[:, :2] + before.camera[1:]
    aim = 1.2 * (seen - seen[0]) + seen[0] + [3, -2]  # larger, and elsewhere
    raw["joints_image"][0, 0, :, :2] = (aim - [60, 160]) / [20, 80 / 7] - 0.5  # cells
    after = decode(raw, CROP, HEATMAP, models)[0]
    assert_allclose(after.camera, before.camera * [1.1, 1, 1] + [0, 1.5, -1], rtol=1e-4)
    assert_allclose(after.joints_image, after.project(after.joints), atol=1e-3)
    raw["joints_image"][0, 0, :, 0] += 40  # no heat map sees this hand
    assert_allclose(decode(raw, CROP, HEATMAP, models)[0].camera, before.camera)


def test_hands(models: HandPair) -> None:
    wider = replace(models.left, v_template=models.left.v_template * np.float32(1.1))
    models, raw = HandPair(models.right, wider), outputs()
    hands = decode(raw, CROP, HEATMAP, models)
    for i, (hand, model) in enumerate(zip(hands, (models.right, models.left), strict=True)):
        rotations = hand.rotations
        assert_allclose(rotations @ np.swapaxes(rotations, -1, -2), np.broadcast_to(np.eye(3), (16, 3, 3)), atol=1e-6)
        assert_allclose(rotations[..., 0], raw["rotation6d"][0, i, :, :3] / 3, atol=1e-6)
        vertices, joints = skin(model, rotations, raw["shape"][0, i])
        assert_allclose(hand.vertices, vertices - joints[0], atol=1e-6)
        assert "vertices" in vars(hand)  # computed once
        assert_allclose(hand.joints, joints - joints[0], atol=1e-6)
        assert_allclose(hand.joints_image, hand.project(hand.joints), atol=1e-4)
        expected = hand.joints[:, 0] * (160, 240)[i] + (80, 120)[i]
        assert_allclose(hand.joints_image[:, 0], expected, atol=1e-3)
        assert hand.side == model.side
    right, left = hands
    sent = pickle.dumps(decode(raw, CROP, HEATMAP, models)[1])
    assert len(sent) < 100_000  # no hand model travels along
    assert_array_equal(pickle.loads(sent).vertices, left.vertices)
    assert (right.presence, right.present) == (0.5, False)  # a logit of 0 is not above one half
    assert left.present
    assert left.presence == pytest.approx(1 / (1 + np.exp(-2.0)))


def test_extreme_logits_do_not_overflow(models: HandPair) -> None:
    raw = outputs() | {"presence": np.array([[-1e30, 1e30]], np.float32)}
    with np.errstate(all="raise"):
        right, left = decode(raw, CROP, HEATMAP, models)
    assert (right.present, left.present) == (False, True)
    assert right.presence < 1e-9
    assert left.presence == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "number"), [(name, np.nan) for name in outputs()] + [("shape", -np.inf), ("camera", 1e9)]
)
def test_numbers_that_no_hand_has(models: HandPair, name: str, number: float) -> None:
    raw = outputs()
    raw[name].reshape(-1)[-1] = number
    with pytest.raises(UserError, match=name):
        decode(raw, CROP, HEATMAP, models)
