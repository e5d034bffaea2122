"""A whole picture in, the boxes of at most two hands out.

MediaPipe's palm detector looks at the picture shrunk to 192 px, as in MediaPipe; where that shows fewer than two hands,
to 112 px, for hands that fill the picture, whose palms are larger than any that it knows at 192; and where neither
shows a hand, to 384 px, for hands that are smaller than an eighth of the picture. The network takes any height and
width that are multiples of 32, so a wide picture costs less than a square one.

Where the model file is from and what was changed in it: runtime/assets/NOTICE-palm-detector.txt.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..backends.session import open_session
from ..image.reading import Rgb, as_rgb_uint8
from .palms import Boxes, Palms, anchor_centers, box_around, decode_palms, hand_boxes, merge_palms

MODEL_PATH = Path(__file__).parents[1] / "assets" / "palm_detector.onnx"
MAX_HANDS = 2
NORMAL_PX, CLOSE_PX, FAR_PX = 192, 112, 384  # longer side of the picture at each look
# The least scores of the surest hand and of one beside it, which is likelier where there is one. On SynthHands they
# leave 0.05 boxes per picture that are on no hand; MediaPipe takes 0.5 for both.
THRESHOLD, SECOND_THRESHOLD = 0.6, 0.4
FAR_THRESHOLD = 0.8  # instead of THRESHOLD: small things look like hands more often
_STRIDE_PX = 32  # the network halves its input five times
_WHITE = np.float32(255)


@dataclass(frozen=True, eq=False)
class FoundBoxes:
    """Where the hands of a picture are, the surest first; n is 0, 1 or 2. All in px of the picture."""

    boxes: Boxes  # (n, 4) x, y, width, height of a square around each hand; may reach beyond the picture
    scores: NDArray[np.float32]  # (n,) 0..1
    took_ms: float = 0.0

    @property
    def pair_box(self) -> NDArray[np.float64] | None:
        """x, y, width, height around all found hands; None where there is none."""
        return box_around(self.boxes) if len(self.boxes) else None


class Finder:
    """The loaded detector; threads may share it."""

    def __init__(self, threads: int | None = None) -> None:
        self._session: Any = open_session(MODEL_PATH, threads)

    def find_hands(self, rgb: NDArray[Any], *, far: bool = True) -> FoundBoxes:
        """Find up to two hands of a picture (H, W, 3) uint8 RGB; a UserError for what is none.

        far: look for small hands where there is no other, which takes two and a half times as long as the rest.
        """
        threshold = THRESHOLD
        start = time.perf_counter()
        image = as_rgb_uint8(rgb)
        size_px = image.shape[1], image.shape[0]
        normal = _shrink(image, NORMAL_PX)
        palms = merge_palms(self._look(normal, size_px))
        if np.count_nonzero(palms.scores >= threshold) < MAX_HANDS:
            palms = merge_palms(palms, self._look(_shrink(normal, CLOSE_PX), size_px))
        if far and not (palms.scores >= threshold).any():
            palms = merge_palms(self._look(_shrink(image, FAR_PX), size_px))
            threshold = FAR_THRESHOLD
        count = min(len(palms.scores), MAX_HANDS) if (palms.scores >= threshold).any() else 0
        boxes, took_ms = hand_boxes(palms)[:count], 1000 * (time.perf_counter() - start)
        return FoundBoxes(boxes, palms.scores[:count], took_ms)

    def _look(self, view: Rgb, picture_px: tuple[int, int]) -> Palms:
        """The palms of one view of the picture, in px of the picture, whose width and height are given."""
        rows, columns = view.shape[:2]
        height, width = (math.ceil(side / _STRIDE_PX) * _STRIDE_PX for side in (rows, columns))
        top, left = (height - rows) // 2, (width - columns) // 2
        canvas = np.zeros((1, 3, height, width), np.float32)
        np.divide(view.transpose(2, 0, 1), _WHITE, out=canvas[0, :, top : top + rows, left : left + columns])
        offsets, logits = self._session.run(["offsets", "logits"], {"image": canvas})
        palms = decode_palms(offsets[0], logits[0, :, 0], anchor_centers(height, width), SECOND_THRESHOLD)
        corner = np.array([left, top], np.float32)
        scale = np.divide(picture_px, (columns, rows), dtype=np.float32)
        return Palms((palms.corners - corner) * scale, (palms.keypoints - corner) * scale, palms.scores)


def _shrink(image: Rgb, side_px: int) -> Rgb:
    """Make the longer side side_px, by averaging areas: by halves first, which OpenCV does ten times as fast."""
    height, width = image.shape[:2]
    factor = side_px / max(height, width)
    rows, columns = (max(1, round(side * factor)) for side in (height, width))
    while min(height // rows, width // columns) >= 2:
        height, width = height // 2, width // 2
        image = cv2.resize(image[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    mode = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, (columns, rows), interpolation=mode)  # type: ignore[return-value]
