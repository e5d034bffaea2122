"""Protocol `mcp-scaled` against numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.joints import MIDDLE_MCP
from training.metrics import Errors, HandBatch, mcp_scaled_errors


def batch(joints: np.ndarray, present: tuple[bool, bool] = (True, True), shift: float = 0.0) -> HandBatch:
    """One image with both hands at the given wrist-relative joints (21, 3); the vertices are the joints."""
    both = np.stack([joints, joints])[None].astype(np.float32)
    return HandBatch(both, both.copy(), np.array([[0.1 + shift, 0, 0]], np.float32), np.array([present]))


@pytest.fixture
def truth() -> np.ndarray:
    joints = np.random.default_rng(0).normal(size=(21, 3)) * 0.03
    joints[0] = 0
    joints[MIDDLE_MCP] = (0, -0.1, 0)
    return joints


def test_labels_against_themselves_are_zero(truth: np.ndarray) -> None:
    accuracy = mcp_scaled_errors(batch(truth), batch(truth)).accuracy("made")
    assert (accuracy.mpjpe_mm, accuracy.mpvpe_mm, accuracy.mrrpe_mm) == (0, 0, 0)
    assert accuracy.presence_accuracy == 1


def test_size_and_place_do_not_count(truth: np.ndarray) -> None:
    accuracy = mcp_scaled_errors(batch(truth * 1.3), batch(truth)).accuracy("made")
    assert accuracy.mpjpe_mm == pytest.approx(0, abs=1e-3)


def test_one_displaced_joint(truth: np.ndarray) -> None:
    # Joint 20 is 21 mm off in both hands: the mean over the 20 joints beside the root is 21 / 20 mm.
    off = truth.copy()
    off[20] += (0.021, 0, 0)
    errors = mcp_scaled_errors(batch(off), batch(truth))
    assert errors.joint_mm[0, 0, 20] == pytest.approx(21, abs=1e-3)
    assert errors.accuracy("made").mpjpe_mm == pytest.approx(21 / 20, abs=1e-3)
    assert errors.accuracy("made").mpvpe_mm == pytest.approx(21 / 21, abs=1e-3)  # of its 21 "vertices"


def test_a_displaced_root_counts_on_every_other_joint() -> None:
    # All joints but the root at one point P; the predicted root is moved along the bone, which also changes the scale.
    joints = np.zeros((21, 3))
    joints[MIDDLE_MCP] = (0, -0.1, 0)
    predicted = joints.copy()
    predicted[MIDDLE_MCP] = (0, -0.2, 0)  # twice the bone: scaled by a half the prediction is the truth again
    accuracy = mcp_scaled_errors(batch(predicted), batch(joints)).accuracy("made")
    assert accuracy.mpjpe_mm == pytest.approx(0, abs=1e-3)
    predicted[MIDDLE_MCP] = (0.1, 0, 0)  # a right angle: every other joint is 0.1 * sqrt(2) m away
    accuracy = mcp_scaled_errors(batch(predicted), batch(joints)).accuracy("made")
    assert accuracy.mpjpe_mm == pytest.approx(100 * np.sqrt(2), abs=1e-2)


def test_translation_between_the_wrists(truth: np.ndarray) -> None:
    accuracy = mcp_scaled_errors(batch(truth, shift=0.012), batch(truth)).accuracy("made")
    assert accuracy.mrrpe_mm == pytest.approx(12, abs=1e-3)


def test_single_hands_count_for_presence_only(truth: np.ndarray) -> None:
    both = mcp_scaled_errors(batch(truth), batch(truth))
    single = mcp_scaled_errors(batch(truth), batch(truth, present=(True, False)))
    accuracy = Errors.concatenate([both, single]).accuracy("made")
    assert (accuracy.n_images, accuracy.n_interacting) == (2, 1)
    assert accuracy.presence_accuracy == pytest.approx(3 / 4)  # a phantom left hand
    assert np.isnan(single.joint_mm[0, 1]).all()
    assert np.isnan(single.accuracy("made").mpjpe_mm)
