"""Anchors, decoding and merging of palms, on made outputs of the network."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from runtime.finder.palms import KEYPOINTS, SCALE, SHIFT, Palms, anchor_centers, decode_palms, hand_boxes, merge_palms


def palms_at(*squares: tuple[float, float, float], scores: tuple[float, ...]) -> Palms:
    """Palms with a box about x, y of a given side, all keypoints in the middle."""
    rows = np.array(squares, np.float32).reshape(-1, 3)
    center, half = rows[:, None, :2], rows[:, None, 2:] / 2
    keypoints = np.repeat(center, KEYPOINTS, axis=1)
    return Palms(np.concatenate([center - half, center + half], axis=1), keypoints, np.array(scores, np.float32))


def test_mediapipes_anchors() -> None:
    anchors = anchor_centers(192, 192)
    assert anchors.shape == (2016, 2)
    assert_array_equal(anchors[:4], [[4, 4], [4, 4], [12, 4], [12, 4]])
    assert_array_equal(anchors[2 * 24 * 24 - 1], [188, 188])
    assert_array_equal(anchors[2 * 24 * 24 :][:7], [[8, 8]] * 6 + [[24, 8]])
    assert_array_equal(anchors[-1], [184, 184])


def test_offsets_count_from_the_anchor() -> None:
    anchors = anchor_centers(64, 64)
    offsets, logits = np.zeros((len(anchors), 18), np.float32), np.full(len(anchors), -9, np.float32)
    offsets[5] = [3, -2, 20, 10, *range(14)]
    logits[5] = 0.0
    palms = decode_palms(offsets, logits, anchors, threshold=0.5)
    x, y = anchors[5]
    assert_allclose(palms.corners, [[[x + 3 - 10, y - 2 - 5], [x + 3 + 10, y - 2 + 5]]])
    assert_allclose(palms.keypoints[0], anchors[5] + np.arange(14).reshape(7, 2))
    assert_allclose(palms.scores, [0.5])
    assert len(decode_palms(offsets, logits, anchors, threshold=0.51).scores) == 0


def test_overlapping_palms_become_their_weighted_mean_with_the_best_score() -> None:
    merged = merge_palms(palms_at((60, 50, 40), (50, 50, 40), (150, 50, 40), scores=(0.3, 0.9, 0.8)))
    assert_allclose(merged.scores, [0.9, 0.8])
    assert_allclose(merged.keypoints[:, 0], [[52.5, 50], [150, 50]])
    assert_allclose(merged.corners[0], [[32.5, 30], [72.5, 70]])


def test_boxes_without_extent_and_no_boxes_are_merged_too() -> None:
    assert len(merge_palms(palms_at((5, 5, 0), (5, 5, 0), scores=(0.5, 0.6))).scores) == 2
    nothing = merge_palms(palms_at(scores=()))
    assert nothing.corners.shape == (0, 2, 2)
    assert nothing.keypoints.shape == (0, 7, 2)


@pytest.mark.parametrize("direction", [(0, -1), (1, 0), (0.6, 0.8)])
def test_the_hand_lies_ahead_of_the_palm_whichever_way_it_points(direction: tuple[float, float]) -> None:
    palms = palms_at((100, 100, 40), scores=(1,))
    palms.keypoints[0, 2] += 17 * np.array(direction, np.float32)  # the middle finger's knuckle; 0 is the wrist
    ((x, y, width, height),) = hand_boxes(palms)
    assert_allclose([x + width / 2, y + height / 2], 100 + 40 * SHIFT * np.array(direction), rtol=1e-5)
    assert width == height == pytest.approx(40 * SCALE)
