"""The square crop a network looks at, and the geometry between it and the image.

Coordinates are continuous: an image spans [0, width] x [0, height] and the centre of its first pixel is (0.5, 0.5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from .reading import Rgb, Scratch

Points = NDArray[np.float64]  # (..., 2)

BOX_SCALE = 1.15  # side of the crop over the longer side of the box
MAX_BOX_PX = 65536.0
_MIN_BOX_PX = 1.0
_SCRATCH = Scratch()


@dataclass(frozen=True, eq=False)
class Crop:
    """A square of the image, seen at output_px x output_px."""

    center_px: Points  # (2,) x, y in the image
    size_px: float  # side in the image
    output_px: int  # S

    @property
    def scale(self) -> float:
        """Crop pixels per image pixel."""
        return self.output_px / self.size_px

    def to_crop(self, points_px: ArrayLike) -> Points:
        """Image coordinates (..., 2) -> crop coordinates."""
        return (np.asarray(points_px, np.float64) - self.center_px) * self.scale + self.output_px / 2

    def apply(self, image: Rgb) -> Rgb:
        """Cut the crop out of (H, W, 3): (S, S, 3), bilinear, black outside the image."""
        return cast(Rgb, cv2.cvtColor(self._cut(image, _SCRATCH), cv2.COLOR_RGBA2RGB))

    def planes(self, image: Rgb, scratch: Scratch) -> NDArray[np.uint8]:
        """Cut the crop out of (H, W, 3) as (3, S, S), in the scratch memory."""
        return split_planes(self._cut(image, scratch), scratch)

    def _cut(self, image: Rgb, scratch: Scratch) -> NDArray[np.uint8]:
        """Return (S, S, 4), of which the fourth channel is nothing: OpenCV is slow with three.

        Bilinear sampling skips pixels when it shrinks by more than 2. There, the part of the image that matters is
        first shrunk by averaging over areas, by about the whole part of the factor, which leaves 1 to 1.5 to the
        bilinear step. Averaging maps the part's edges onto the result's edges, so the geometry stays exact.
        """
        side = self.output_px
        pixels = scratch.array("crop", (side, side, 4), np.uint8)
        # What the bilinear step samples: where it starts in the image, and how large its pixels are there.
        sampled, origin_px, pixel_px = self._shrunk(image, scratch)
        # Four channels are made only where the crop samples; the picture keeps its size, as coordinates that start
        # elsewhere would be rounded otherwise.
        height, width = sampled.shape[:2]
        rgba = scratch.array("rgba", (height, width, 4), np.uint8)
        spans, rows = [], []
        for axis, length in enumerate((width, height)):
            pixel, origin = float(pixel_px[axis]), float(origin_px[axis])
            half = self.size_px / 2 / pixel + 2
            center = (float(self.center_px[axis]) - origin) / pixel
            spans.append((max(math.floor(center - half), 0), min(math.ceil(center + half), length)))
            scale = self.scale * pixel
            start = (origin - float(self.center_px[axis])) * self.scale + side / 2
            # OpenCV puts the centres of pixels at integers, hence the halves.
            rows.append([scale * (axis == 0), scale * (axis == 1), start + 0.5 * scale - 0.5])
        (left, right), (top, bottom) = spans
        if left < right and top < bottom:
            part = np.s_[top:bottom, left:right]
            cv2.cvtColor(sampled[part], cv2.COLOR_RGB2RGBA, rgba[part])
        cv2.warpAffine(rgba, np.array(rows), (side, side), pixels, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
        return pixels

    def _shrunk(self, image: Rgb, scratch: Scratch) -> tuple[NDArray[np.uint8], Points, Points]:
        """The image, or its shrunk part: pixels, and in px of the image where they start and their size, x and y."""
        block = int(self.size_px / self.output_px)
        if block < 2:
            return image, np.zeros(2), np.ones(2)
        image_size = np.array([image.shape[1], image.shape[0]])
        half = self.size_px / 2 + 2 * block  # the margin feeds the bilinear step at the crop's edge
        start = np.floor(self.center_px - half)
        stop = np.clip(start + np.ceil(2 * half / block) * block, 0, image_size).astype(int)
        start = np.clip(start, 0, image_size).astype(int)
        size = stop - start
        if size.min() <= 0:  # it misses the image
            return np.zeros((1, 1, 3), np.uint8), np.zeros(2), np.ones(2)
        blocks = np.maximum(np.round(size / block), 1).astype(int)
        part = image[start[1] : stop[1], start[0] : stop[0]]
        columns, rows = blocks.tolist()
        shrunk = scratch.array("shrunk", (rows, columns, 3), np.uint8)
        cv2.resize(part, (columns, rows), shrunk, interpolation=cv2.INTER_AREA)
        return shrunk, start.astype(np.float64), size / blocks


def split_planes(pixels: NDArray[np.uint8], scratch: Scratch) -> NDArray[np.uint8]:
    """(S, S, 3 or 4) -> (3, S, S), in the scratch memory."""
    height, width, channels = pixels.shape
    planes = scratch.array("planes", (4, height, width), np.uint8)
    cv2.split(pixels, list(planes[:channels]))
    return planes[:3]


def crop_from_box(box_xywh: ArrayLike, output_px: int, scale: float = BOX_SCALE) -> Crop:
    """The square about a box's centre, its side `scale` times the box's longer side.

    The box may reach beyond the image. One that is no box (not four finite numbers, no extent, absurdly large) is a
    UserError.
    """
    x, y, width, height = checked_box(box_xywh)
    return Crop(np.array([x + width / 2, y + height / 2]), max(width, height) * scale, output_px)


def crop_of_image(width: int, height: int, output_px: int) -> Crop:
    """The square around a whole image."""
    return Crop(np.array([width / 2, height / 2]), float(max(width, height)), output_px)


def box_of_image(width: int, height: int) -> Points:
    """The box (4,) whose crop is the square around a whole image, for one look at all of it."""
    return np.array([width / 2, height / 2] * 2) * (1 - 1 / BOX_SCALE, 1 - 1 / BOX_SCALE, 2 / BOX_SCALE, 2 / BOX_SCALE)


def checked_box(box_xywh: ArrayLike) -> tuple[float, float, float, float]:
    """x, y, width, height in pixels, or a UserError."""
    try:
        box = np.asarray(box_xywh)
        box = box.astype(np.float64, casting="unsafe" if box.dtype == object else "same_kind")
        if box.shape != (4,):
            raise ValueError
    except (TypeError, ValueError):
        raise UserError("a box is four numbers: x, y, width and height in pixels") from None
    x, y, width, height = numbers = tuple(box.tolist())
    shown = f"the box {x:g} {y:g} {width:g} {height:g}"
    if not all(map(math.isfinite, numbers)):
        raise UserError(f"{shown} is not finite: give x, y, width and height in pixels")
    if min(width, height) < _MIN_BOX_PX:
        raise UserError(f"{shown} has no extent: give x, y, width and height in pixels, not two corners")
    if max(map(abs, numbers)) > MAX_BOX_PX:
        raise UserError(f"{shown} is out of any image: give x, y, width and height in pixels")
    return x, y, width, height


def box_meets_image(box_xywh: ArrayLike, width: int, height: int) -> bool:
    """Whether any of the box lies in the image; a UserError where it is no box."""
    x, y, box_width, box_height = checked_box(box_xywh)
    return x < width and y < height and x + box_width > 0 and y + box_height > 0
