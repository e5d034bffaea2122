"""Distances between an engine's hands and the reference's, in mm."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.devices.jetson.parity import compare
from runtime.backends.opening import Outputs
from runtime.hand.decode import HandPair
from runtime.hand.hand_model import load_hand_models
from runtime.hand.rotations import matrix_from_6d, matrix_from_axis_angle
from tests.conftest import resting_outputs

IMAGES = [np.zeros((1, 3, 8, 8), np.float32)] * 3


def outputs(**changes: np.ndarray) -> Outputs:
    return {name: np.asarray(value, np.float32) for name, value in (resting_outputs() | changes).items()}


def test_the_same_is_zero() -> None:
    parity = compare(lambda image: outputs(), [outputs()] * 3, IMAGES)
    assert parity.mean_mm == parity.worst_hand_mm == parity.relative_translation_mm == 0
    assert (parity.presence_changed, parity.hands, parity.crops) == (0, 6, 3)
    assert parity.passed("fp32")


def test_a_turned_wrist_moves_vertices_as_far_as_geometry_says() -> None:
    changed = outputs()
    turn = matrix_from_axis_angle(np.array([[0.0, 0.0, 0.1]]))[0]
    before = matrix_from_6d(changed["rotation6d"][0])
    turned = turn @ before[0, 0]
    changed["rotation6d"][0, 0, 0] = np.concatenate([turned[:, 0], turned[:, 1]])
    parity = compare(lambda image: changed, [outputs()], IMAGES[:1])
    vertices, _ = HandPair(*load_hand_models()).skin(before.astype(np.float32), np.zeros((2, 10), np.float32))
    expected = 1000 * np.linalg.norm(vertices[0] @ turn.T - vertices[0], axis=-1).mean()
    assert parity.worst_hand_mm == pytest.approx(expected, rel=1e-3) and expected > 2
    assert parity.mean_mm == pytest.approx(expected / 2, rel=1e-3)
    assert not parity.passed("int8")


def test_translation_presence_and_hands_that_are_not_there() -> None:
    moved = resting_outputs()["relative_translation"] + [[0.003, 0, 0.004]]
    parity = compare(lambda image: outputs(relative_translation=moved), [outputs()], IMAGES[:1])
    assert parity.relative_translation_mm == pytest.approx(5, rel=1e-3) and parity.mean_mm == 0
    one = outputs(presence=np.array([[4.0, -3.0]]), shape=np.ones((1, 2, 10)))
    reference = outputs(presence=np.array([[4.0, -3.0]]), shape=np.stack([np.ones((1, 10)), np.zeros((1, 10))], 1))
    parity = compare(lambda image: one, [reference], IMAGES[:1])
    assert (parity.mean_mm, parity.hands) == (0, 1)  # what the absent hand looks like does not count
    parity = compare(lambda image: outputs(), [reference], IMAGES[:1])
    assert parity.presence_changed == 1


def test_numbers_that_are_not_finite_fail() -> None:
    broken = outputs(shape=np.full((1, 2, 10), np.nan))
    parity = compare(lambda image: broken, [outputs()] * 3, IMAGES)
    assert np.isnan(parity.mean_mm) and not parity.passed("int8")
    nobody = outputs(presence=np.array([[-4.0, -3.0]]))
    assert not compare(lambda image: nobody, [nobody], IMAGES[:1]).passed("fp32")  # nothing was compared
