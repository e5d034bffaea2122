"""From a palm to the box of the whole hand.

MediaPipe's rule (mediapipe/modules/hand_landmark/palm_detection_detection_to_roi.pbtxt): a square about a point half a
palm's side from the palm's centre, in the direction from the wrist to the middle finger's knuckle. Its side is 2.6
palms, for a crop that is used as it is. Here the side is that of a box as annotated, which `crop_of_box` enlarges. On
SynthHands 0.5 and 2.2 fit the boxes best (intersection over union 0.68; 0.65 with 2.6).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .palms import Palms

SHIFT = 0.5  # palms' sides
SCALE = 2.2
# Distance of two hands' centres, in sides of the larger box, from which each has a crop of its own. On SynthHands one
# crop for both is better up to 0.45 (PCK 0.88 against 0.80) and worse from 0.6 on (0.83 against 0.88); on photographs
# PCK is 0.46 with 0.6, 0.38 with 1.0 and 0.33 with 1.9 (er-xs; er-s likewise).
APART_FROM = 0.6
_WRIST, _MIDDLE_KNUCKLE = 0, 2

Boxes = NDArray[np.float64]  # (n, 4) x, y, width, height


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
