"""Distances between two networks' hands, in mm."""

from __future__ import annotations

import numpy as np
import pytest

from compress.check.mesh_distance import STEADY_MM, MeshDistance, how_unsteady, mesh_distance
from runtime.backends.contract import Outputs
from runtime.hand.hand_model import HandPair, load_hand_models
from runtime.hand.rotations import matrix_from_6d, matrix_from_axis_angle
from tests.conftest import resting_outputs

MODELS = HandPair(*load_hand_models())


def outputs(**changes: np.ndarray) -> Outputs:
    return {name: np.asarray(value, np.float32) for name, value in (resting_outputs() | changes).items()}


def compared(found: Outputs, expected: Outputs) -> MeshDistance:
    return mesh_distance([outputs(), expected], [outputs(), found], 224, MODELS)


def test_the_same_is_zero() -> None:
    assert compared(outputs(), outputs()) == MeshDistance(2, 0, 0, 0, 0)


def test_a_turned_wrist_moves_vertices_as_far_as_geometry_says() -> None:
    changed = outputs()
    turn = matrix_from_axis_angle(np.array([[0.0, 0.0, 0.1]]))[0]
    before = matrix_from_6d(changed["rotation6d"][0])
    turned = turn @ before[0, 0]
    changed["rotation6d"][0, 0, 0] = np.concatenate([turned[:, 0], turned[:, 1]])
    vertices, _ = MODELS.skin(before.astype(np.float32), np.zeros((2, 10), np.float32))
    expected = 1000 * np.linalg.norm(vertices[0] @ turn.T - vertices[0], axis=-1)
    distance = compared(changed, outputs())
    assert distance.vertex_mm == pytest.approx(expected.max(), rel=1e-3) and expected.mean() > 2
    assert distance.present_hand_mm == pytest.approx(expected.mean(), rel=1e-3)
    assert distance.mean_mm == pytest.approx(expected.mean() / 4, rel=1e-3)  # of two crops, one hand is turned


def test_a_moved_camera_is_told_in_pixels() -> None:
    camera = resting_outputs()["camera"] + [0, 0.003, 0.004]
    assert compared(outputs(camera=camera), outputs()).projection_px == pytest.approx(0.005 * 224, rel=1e-3)


def test_hands_that_are_not_there_count_where_there_is_none_at_all() -> None:
    left_alone = outputs(presence=np.array([[-4.0, 3.0]]))
    found = outputs(shape=np.stack([np.ones((1, 10)), np.zeros((1, 10))], 1))  # another right hand
    distance = compared(found, left_alone)
    assert distance.present_hand_mm == 0 < distance.vertex_mm
    nobody = outputs(presence=np.array([[-4.0, -3.0]]))
    assert mesh_distance([nobody], [found], 224, MODELS).present_hand_mm > 0


def test_a_hand_counts_for_less_where_noise_moves_it() -> None:
    larger = outputs(shape=np.stack([np.full((1, 10), 2.0), np.zeros((1, 10))], 1))  # the right hand
    moved = compared(larger, outputs()).present_hand_mm
    unsteady = how_unsteady([outputs(), outputs()], [outputs(), larger], MODELS)
    np.testing.assert_allclose(unsteady, [[1, 1], [moved / STEADY_MM, 1]], rtol=1e-4)
    pairs = [outputs(), outputs()], [outputs(), larger]
    assert mesh_distance(*pairs, 224, MODELS, unsteady).present_hand_mm == pytest.approx(STEADY_MM) and moved > 1
    assert mesh_distance(*pairs, 224, MODELS, unsteady[::-1]).present_hand_mm == pytest.approx(moved)


def test_what_is_no_number_is_nan() -> None:
    distance = compared(outputs(shape=np.full((1, 2, 10), np.nan)), outputs())
    assert np.isnan([distance.vertex_mm, distance.present_hand_mm, distance.mean_mm]).all()
