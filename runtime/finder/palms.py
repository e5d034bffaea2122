"""What the palm detector's outputs say: anchors, decoding and weighted non-maximum suppression; from palms to hands.

All three follow MediaPipe's graph (mediapipe/modules/palm_detection/palm_detection_cpu.pbtxt): a palm is a box and
seven points, given as offsets in px of the network's input from the centre of an anchor.

A hand's box is, by MediaPipe's rule (mediapipe/modules/hand_landmark/palm_detection_detection_to_roi.pbtxt), a square
about a point half a palm's side from the palm's centre, from the wrist to the middle finger's knuckle. Its side is 2.6
palms, for a crop that is used as it is; here it is that of a box as annotated. On SynthHands 0.5 and 2.2 fit the boxes
best (intersection over union 0.68; 0.65 with 2.6).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Boxes = NDArray[np.float64]  # (n, 4) x, y, width, height

# Side of a cell in px, and how many anchors share its centre: two for each layer of the graph that has this stride.
GRIDS = ((8, 2), (16, 6))
KEYPOINTS = 7  # wrist, knuckles of index, middle, ring and little finger, two joints of the thumb
SHIFT = 0.5  # palms' sides
SCALE = 2.2
# Distance of two hands' centres, in sides of the larger box, from which each has a crop of its own. On SynthHands one
# crop for both is better up to 0.45 (PCK 0.88 against 0.80) and worse from 0.6 on (0.83 against 0.88); on photographs
# PCK is 0.46 with 0.6, 0.38 with 1.0 and 0.33 with 1.9 (er-xs; er-s likewise).
APART_FROM = 0.6
_WRIST, _MIDDLE_KNUCKLE = 0, 2
MIN_OVERLAP = 0.3  # intersection over union from which two boxes are one palm


@dataclass(frozen=True, eq=False)
class Palms:
    """Palms of one picture; after `merge_palms` the surest first."""

    corners: Floats  # (n, 2, 2) upper left and lower right of the palm's box: x, y
    keypoints: Floats  # (n, 7, 2) x, y
    scores: Floats  # (n,) 0..1


@lru_cache(maxsize=16)
def anchor_centers(height: int, width: int) -> Floats:
    """Return the anchors of an input of height x width px (multiples of 16): (n, 2) x, y in px, row by row."""
    grids = []
    for stride, count in GRIDS:
        x, y = (np.arange(stride / 2, side, stride, dtype=np.float32) for side in (width, height))
        centers = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        grids.append(np.repeat(centers, count, axis=0))
    return np.concatenate(grids)


def decode_palms(offsets: Floats, logits: Floats, anchors: Floats, threshold: float) -> Palms:
    """Read the palms that reach a score, in px of the network's input; several may be of one hand.

    offsets (n, 18) from each anchor (n, 2): the box's centre, its size, then seven points; logits (n,) of scores.
    """
    (chosen,) = np.nonzero(logits >= np.log(threshold / (1 - threshold)))
    found, centers = offsets[chosen], anchors[chosen, None]
    middle, half = found[:, None, :2], found[:, None, 2:4] / 2
    return Palms(
        corners=centers + np.concatenate([middle - half, middle + half], axis=1),
        keypoints=centers + found[:, 4:].reshape(-1, KEYPOINTS, 2),
        scores=np.reciprocal(1 + np.exp(-logits[chosen])),
    )


def merge_palms(*looks: Palms) -> Palms:
    """Make one palm of all that overlap: the mean of their places weighted by score, with the highest score."""
    corners = np.concatenate([look.corners for look in looks])
    places = np.concatenate([corners, np.concatenate([look.keypoints for look in looks])], axis=1)
    all_scores = np.concatenate([look.scores for look in looks])
    left = np.argsort(-all_scores, kind="stable")
    merged, scores = [], []
    while left.size:
        same = _overlaps(corners[left[0]], corners[left]) > MIN_OVERLAP
        same[0] = True  # a box without extent overlaps nothing
        merged.append(np.average(places[left[same]], axis=0, weights=all_scores[left[same]]))
        scores.append(all_scores[left[0]])
        left = left[~same]
    rows = np.array(merged, np.float32).reshape(-1, 2 + KEYPOINTS, 2)
    return Palms(rows[:, :2], rows[:, 2:], np.array(scores, np.float32))


def _overlaps(corners: Floats, others: Floats) -> Floats:
    """Intersection over union of a box (2, 2) with each of the others (n, 2, 2)."""
    low, high = np.maximum(corners[0], others[:, 0]), np.minimum(corners[1], others[:, 1])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    union = np.prod(others[:, 1] - others[:, 0], axis=1) + np.prod(corners[1] - corners[0]) - shared
    overlaps: Floats = shared / np.maximum(union, np.finfo(np.float32).tiny)
    return overlaps


def hand_boxes(palms: Palms) -> Boxes:
    """Return the square around each palm's hand, in the palms' unit."""
    corners, keypoints = palms.corners.astype(np.float64), palms.keypoints.astype(np.float64)
    direction = keypoints[:, _MIDDLE_KNUCKLE] - keypoints[:, _WRIST]
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    palm_side = (corners[:, 1] - corners[:, 0]).max(axis=1, keepdims=True)
    center = corners.mean(axis=1) + SHIFT * palm_side * direction
    side = SCALE * palm_side
    return np.concatenate([center - side / 2, side, side], axis=1)


def box_around(boxes: Boxes) -> NDArray[np.float64]:
    """Return the smallest box (4,) that holds all boxes (n, 4); n is at least 1."""
    low, high = boxes[:, :2].min(axis=0), (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    return np.concatenate([low, high - low])


def boxes_apart(boxes: Boxes, share: float = 1.0) -> bool:
    """Whether boxes (n, 4) are of two hands so far apart, `share` of APART_FROM, that each wants a crop of its own."""
    if len(boxes) != 2:
        return False
    one, other = boxes[:, :2] + boxes[:, 2:] / 2
    return bool(np.linalg.norm(one - other) > share * APART_FROM * boxes[:, 2:].max())
