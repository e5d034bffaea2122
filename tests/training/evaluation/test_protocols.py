"""The protocols against numbers worked by hand; every quirk of ER's evaluator by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from runtime.hand.joints import JOINT_COUNT, JOINT_NAMES, MIDDLE_MCP
from tests.fixtures.truths import as_prediction, hand, made_truth, one_by_one
from training.evaluation.protocols import (
    ER,
    ER_WITHOUT_QUIRKS,
    INTERACTING,
    LEFT,
    MCP_SCALED,
    PROTOCOLS,
    RIGHT,
    WRIST_ONLY,
    WRIST_SCALED,
    HandBatch,
    Protocol,
    Result,
    Tally,
    Truth,
)
from training.evaluation.scores import Scores

TIP = JOINT_NAMES.index("pinky_4")
THUMB_TIP = JOINT_NAMES.index("thumb_4")


def off_by(truth: Truth, mm: list[list[float]], joint: int = TIP) -> HandBatch:
    """The labels with one joint off by so much; by image and hand."""
    joints = truth.mesh_joints.copy()
    joints[:, :, joint, 0] += np.array(mm) / 1000
    return HandBatch(joints, joints, truth.relative_translation, truth.present, truth.points)


def result(protocol: Protocol, predicted: HandBatch, truth: Truth) -> Result:
    tally = Tally(protocol)
    tally.add(predicted, truth)
    return tally.result()


def mpjpe(protocol: Protocol, predicted: HandBatch, truth: Truth) -> tuple[float, float, float]:
    groups = result(protocol, predicted, truth).mpjpe_mm
    return groups.all, groups.single, groups.interacting


def near(*expected: float) -> Any:
    return pytest.approx(expected, abs=1e-6, nan_ok=True)


NAN = float("nan")


# Which images, how averaged. One joint is off by 63 mm in a single right hand, by 21 mm in the right hand of two.

TRUTH = made_truth(RIGHT, INTERACTING)
PREDICTED = off_by(TRUTH, [[63, 0], [21, 0]])


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        (WRIST_ONLY, (42 / 40, 63 / 20, 21 / 40)),  # the joint's own mean is 42 mm, 39 other joints have 0
        (MCP_SCALED, (21 / 40, NAN, 21 / 40)),
        (WRIST_SCALED, (21 / 40, NAN, 21 / 40)),
        (ER_WITHOUT_QUIRKS, ((63 + 21) / 60, 63 / 20, 21 / 40)),  # over all joints
    ],
)
def test_what_is_averaged(protocol: Protocol, expected: tuple[float, ...]) -> None:
    measured = result(protocol, PREDICTED, TRUTH)
    assert mpjpe(protocol, PREDICTED, TRUTH) == near(*expected)
    assert measured.mpvpe_mm.interacting == pytest.approx(21 / 42)  # of 2 x 21 "vertices"
    assert (measured.n_single, measured.n_interacting) == (int(protocol.single), 1)
    unseen = replace(PREDICTED, present=np.zeros_like(PREDICTED.present))  # which changes no error
    assert mpjpe(protocol, unseen, TRUTH) == near(*expected)


# Alignment.


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda p: p.name)
def test_place_never_counts_and_size_only_without_scale(protocol: Protocol) -> None:
    truth = made_truth(INTERACTING)
    larger = truth.mesh_joints * 1.5 + 0.3
    groups = result(protocol, replace(as_prediction(truth), joints=larger, vertices=larger), truth)
    # Unscaled, each joint is off by half its distance from the wrist.
    expected = 0 if protocol.scaled else 500 * np.linalg.norm(hand()[1:], axis=1).mean()
    assert groups.mpjpe_mm.all == pytest.approx(expected, abs=1e-6)


def test_the_root_decides() -> None:
    # All joints lie at the wrist, but the middle MCP 100 mm above; the predicted one is 100 mm to the right.
    joints = np.zeros((1, 2, JOINT_COUNT, 3))
    joints[..., MIDDLE_MCP, 1] = -0.1
    truth = made_truth(INTERACTING, joints=joints, mesh_joints=joints, vertices=joints)
    turned = np.zeros_like(joints)
    turned[..., MIDDLE_MCP, 0] = 0.1
    predicted = HandBatch(turned, turned, truth.relative_translation, truth.present, truth.points)
    diagonal = 100 * np.sqrt(2)
    assert mpjpe(MCP_SCALED, predicted, truth)[0] == pytest.approx(diagonal)  # of every other joint
    assert mpjpe(WRIST_SCALED, predicted, truth)[0] == pytest.approx(diagonal / 20)  # of the MCP alone
    assert mpjpe(WRIST_ONLY, predicted, truth)[0] == pytest.approx(diagonal / 20)


def test_relative_translation_is_that_of_interacting_images_with_both_wrists() -> None:
    truth = made_truth(RIGHT, INTERACTING, INTERACTING, has_translation=np.array([True, True, False]))
    moved = truth.relative_translation + np.array([[0.5, 0, 0], [0, 0.012, 0], [0.7, 0, 0]])
    predicted = replace(as_prediction(truth), relative_translation=moved)
    for protocol in PROTOCOLS.values():
        assert result(protocol, predicted, truth).mrrpe_mm == pytest.approx(12)


def test_vertices_of_other_hands_and_of_images_without_joints_do_not_count() -> None:
    # A fit of the hand that the image is not about; an image whose wrist is not annotated.
    valid = np.repeat([[[True], [False]], [[False], [False]]], JOINT_COUNT, axis=2)
    truth = made_truth(RIGHT, RIGHT, joint_valid=valid, has_mesh=np.array([[True, True], [True, False]]))
    predicted = off_by(truth, [[21, 999], [999, 0]])
    for protocol in (WRIST_ONLY, ER_WITHOUT_QUIRKS):
        assert result(protocol, predicted, truth).mpvpe_mm.single == pytest.approx(1)


# The quirks of ER's evaluator, each switched on alone.


def test_quirk_1_joints_are_the_meshs() -> None:
    annotated = TRUTH.joints.copy()
    annotated[:, :, TIP, 0] += 0.04  # the annotation says otherwise than the fit
    truth = replace(TRUTH, joints=annotated)
    assert mpjpe(ER_WITHOUT_QUIRKS, as_prediction(truth), truth)[0] == pytest.approx(0)
    assert mpjpe(replace(ER_WITHOUT_QUIRKS, joints="annotated"), as_prediction(truth), truth)[0] == pytest.approx(2)


def test_quirk_2_the_roots_zero_error_is_averaged_in() -> None:
    assert mpjpe(ER_WITHOUT_QUIRKS, PREDICTED, TRUTH)[1:] == near(63 / 20, 21 / 40)
    assert mpjpe(replace(ER_WITHOUT_QUIRKS, root_counts=True), PREDICTED, TRUTH)[1:] == near(63 / 21, 21 / 42)


def test_quirk_3_single_and_interacting_are_halves_but_for_vertices() -> None:
    truth = made_truth(RIGHT, LEFT, INTERACTING, INTERACTING, INTERACTING)
    predicted = off_by(truth, [[10, 0], [0, 10], [20, 20], [20, 20], [20, 20]])
    # 140 mm over the 160 joints of all images; or the halves 0.5 and 1.
    assert mpjpe(ER_WITHOUT_QUIRKS, predicted, truth) == near(140 / 160, 0.5, 1)
    quirk = replace(ER_WITHOUT_QUIRKS, average="halves")
    assert mpjpe(quirk, predicted, truth) == near(0.75, 0.5, 1)
    # An image is one vertex error: 2 of 10/21 mm, 3 of 20/21 mm.
    assert result(quirk, predicted, truth).mpvpe_mm.all == pytest.approx((2 * 10 + 3 * 20) / 21 / 5)


def test_quirk_4_the_mask_is_read_in_another_order() -> None:
    valid = TRUTH.joint_valid.copy()
    valid[:, 0, THUMB_TIP] = False  # the first joint of the file's order, where ours has the wrist
    truth = replace(TRUTH, joint_valid=valid)
    predicted = off_by(truth, [[21, 0], [21, 0]], joint=THUMB_TIP)
    assert mpjpe(ER_WITHOUT_QUIRKS, predicted, truth)[1:] == near(0, 0)
    # The thumb's tip counts, for the fifth joint of the file is there; the wrist does not: 21 - root - wrist.
    quirk = replace(ER_WITHOUT_QUIRKS, mask="interhand-order")
    assert mpjpe(quirk, predicted, truth)[1:] == near(21 / 19, 21 / 39)


def test_quirk_5_a_hand_without_a_fit_has_no_error() -> None:
    truth = replace(TRUTH, has_mesh=np.array([[True, False], [True, False]]))
    predicted = off_by(truth, [[42, 0], [42, 999]])
    assert mpjpe(ER_WITHOUT_QUIRKS, predicted, truth)[1:] == near(42 / 20, 42 / 20)
    quirk = replace(ER_WITHOUT_QUIRKS, fit_needed=False)
    assert mpjpe(quirk, predicted, truth)[1:] == near(42 / 20, 42 / 40)
    for protocol in (quirk, ER_WITHOUT_QUIRKS):  # for vertices the image is skipped
        assert result(protocol, predicted, truth).mpvpe_mm.single == pytest.approx(42 / 21)
        assert np.isnan(result(protocol, predicted, truth).mpvpe_mm.interacting)


def test_all_quirks_together() -> None:
    # One interacting image, no fit of the left hand, no thumb's tip on the right, whose pinky's tip is off by 21 mm:
    # 20 joints of the right hand (all but the wrist) and 21 of the left, each its own mean; the single image adds 21.
    valid = TRUTH.joint_valid.copy()
    valid[1, 0, THUMB_TIP] = False
    truth = replace(TRUTH, joint_valid=valid, has_mesh=np.array([[True, False], [True, False]]))
    predicted = off_by(truth, [[63, 0], [21, 999]])
    assert mpjpe(ER, predicted, truth) == near((63 + 21) / 62, 63 / 21, 21 / 41)


# Sums and names.


def test_batches_add_up() -> None:
    truth = made_truth(RIGHT, INTERACTING, LEFT, INTERACTING)
    predicted = off_by(truth, [[5, 0], [6, 7], [0, 9], [11, 3]])
    for protocol in (*PROTOCOLS.values(), ER_WITHOUT_QUIRKS):
        tally = Tally(protocol)
        for batch in one_by_one(predicted, truth):
            tally.add(*batch)
        whole = result(protocol, predicted, truth)
        assert tally.result().mpjpe_mm.all == pytest.approx(whole.mpjpe_mm.all)
        assert tally.result().mpvpe_mm.all == pytest.approx(whole.mpvpe_mm.all)
        assert tally.result().n_interacting == whole.n_interacting


def test_the_accuracy_of_cards() -> None:
    phantom = replace(PREDICTED, present=np.array([[False, True], [True, True]]))
    scores = Scores([ER])
    scores.add(phantom, TRUTH)
    accuracy = scores.accuracy("made")
    assert (accuracy.protocol, accuracy.n_images, accuracy.n_interacting) == ("mcp-scaled", 2, 1)
    assert accuracy.presence_accuracy == pytest.approx(2 / 4)  # left taken for right
    assert (accuracy.mpjpe_mm, accuracy.mpvpe_mm, accuracy.mrrpe_mm) == near(21 / 40, 21 / 42, 0)
