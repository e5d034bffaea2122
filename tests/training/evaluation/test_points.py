"""Figures in the picture against numbers worked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.fixtures.truths import made_truth, one_by_one
from training.evaluation.points import CURVE, PointFigures, PointTally
from training.evaluation.protocols import HandBatch, Truth

RIGHT, LEFT, BOTH, NONE = range(4)


def square_hand() -> np.ndarray:
    """(21, 2) in a box of 0.4 x 0.2, the metacarpal 0.2 long."""
    points = np.full((21, 2), 0.5)
    points[0], points[9], points[20] = (0.3, 0.4), (0.5, 0.4), (0.7, 0.6)
    return points


def labels(*types: int) -> Truth:
    """Images of those hand types; of what is not in them it is known that it is absent."""
    truth = made_truth(*types)
    points = np.broadcast_to(square_hand(), truth.points.shape).copy()
    kind = np.array(["one", "one", "two", "none"])[list(types)]
    return replace(truth, points=points, point_seen=np.zeros_like(truth.point_valid), kind=kind)


def found(truth: Truth, off: float = 0.0) -> HandBatch:
    """Every joint off by so much of the crop."""
    points = truth.points + np.array([off, 0])
    return HandBatch(truth.joints, truth.vertices, truth.relative_translation, truth.present, points)


def figures(predicted: HandBatch, truth: Truth) -> dict[str, PointFigures]:
    tally = PointTally()
    for batch in one_by_one(predicted, truth):
        tally.add(*batch)
    return {row.kind: row for row in tally.figures()}


def test_labels_against_themselves() -> None:
    truth = labels(RIGHT, BOTH, NONE)
    rows = figures(found(truth), truth)
    assert list(rows) == ["all", "one", "two", "none"]
    assert [(row.n_images, row.n_hands) for row in rows.values()] == [(3, 3), (1, 1), (1, 2), (1, 0)]
    assert (rows["all"].median_error, rows["all"].pck, rows["all"].auc, rows["all"].presence) == (0, 1, 1, 1)
    assert rows["all"].curve == [0, *[1] * 20]
    nothing = rows["none"]
    assert (nothing.median_error, nothing.pck, nothing.auc, nothing.presence) == (None, None, None, 1)
    assert nothing.curve == []


def test_an_error_is_told_in_metacarpals_and_sides() -> None:
    truth = labels(BOTH)
    row = figures(found(truth, 0.05), truth)["two"]
    assert row.median_error == pytest.approx(0.05 / 0.2)
    assert row.curve == [float(limit > 0.05 / 0.4) for limit in CURVE] and row.pck == 1
    assert row.auc == pytest.approx(1 - 0.05 / 0.4 / 0.4)
    truth.points[:, :, 9] = truth.points[:, :, 0] + 0.01  # points at the camera: 0.3 sides instead
    assert figures(found(truth, 0.05), truth)["two"].median_error == pytest.approx(0.05 / 0.12)
    assert figures(found(truth, 0.09), truth)["two"].pck == 0


def test_a_hand_that_is_said_to_be_absent_has_no_joint() -> None:
    truth = labels(BOTH, LEFT)
    missed = replace(found(truth), present=np.array([[True, False], [True, True]]))
    rows = figures(missed, truth)
    assert (rows["all"].pck, rows["all"].median_error) == (pytest.approx(2 / 3), 0)
    assert (rows["two"].presence, rows["one"].presence) == (0, 0)


def test_what_is_not_known_counts_neither_way() -> None:
    truth = labels(RIGHT, RIGHT)
    truth = replace(truth, presence_known=np.array([[True, False], [False, False]]))
    ghost = replace(found(truth), present=np.ones((2, 2), bool))
    assert figures(ghost, truth)["one"].presence == 1  # of the first picture, by its right hand
    truth.point_valid[0, 0, 5:] = False  # too few joints
    assert figures(ghost, truth)["one"].n_hands == 1


def test_joints_that_nothing_hides() -> None:
    truth = labels(RIGHT)
    assert figures(found(truth), truth)["one"].pck_seen is None
    truth.point_seen[0, 0, :10] = True
    predicted = found(truth)
    predicted.points[0, 0, 5:] += 1  # five of the ten
    row = figures(predicted, truth)["one"]
    assert (row.pck_seen, row.pck) == (pytest.approx(0.5), pytest.approx(5 / 21))
