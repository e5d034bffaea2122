"""The square crop a network looks at, and the geometry between it and the image.

Coordinates are continuous: an image spans [0, width] x [0, height] and the centre of its first pixel is (0.5, 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from runtime.errors import UserError
from runtime.image import Rgb

Points = NDArray[np.float64]  # (..., 2)

BOX_SCALE = 1.25  # side of the crop over the longer side of the box
MAX_BOX_PX = 65536.0
_MIN_BOX_PX = 1.0


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

    def to_image(self, points_crop: ArrayLike) -> Points:
        """Crop coordinates (..., 2) -> image coordinates."""
        return (np.asarray(points_crop, np.float64) - self.output_px / 2) / self.scale + self.center_px

    def apply(self, image: Rgb) -> Rgb:
        """Cut the crop out of (H, W, 3): (S, S, 3), bilinear, black outside the image.

        Bilinear sampling skips pixels when it shrinks by more than 2. There, the part of the image that matters is
        first shrunk by averaging over areas, by about the whole part of the factor, which leaves 1 to 1.5 to the
        bilinear step. Averaging maps the part's edges onto the result's edges, so the geometry stays exact.
        """
        block = int(self.size_px / self.output_px)
        if block < 2:
            return self._warp(image, np.zeros(2), np.ones(2))
        image_size = np.array([image.shape[1], image.shape[0]])
        half = self.size_px / 2 + 2 * block  # the margin feeds the bilinear step at the crop's edge
        start = np.floor(self.center_px - half)
        stop = np.clip(start + np.ceil(2 * half / block) * block, 0, image_size).astype(int)
        start = np.clip(start, 0, image_size).astype(int)
        if (stop <= start).any():
            return np.zeros((self.output_px, self.output_px, 3), np.uint8)
        size = stop - start
        blocks = np.maximum(np.round(size / block), 1).astype(int)
        part = image[start[1] : stop[1], start[0] : stop[0]]
        shrunk = cast(Rgb, cv2.resize(part, (int(blocks[0]), int(blocks[1])), interpolation=cv2.INTER_AREA))
        return self._warp(shrunk, start.astype(np.float64), size / blocks)

    def _warp(self, source: Rgb, origin_px: Points, pixel_px: Points) -> Rgb:
        """Sample `source`, which starts at origin_px of the image and has pixels of pixel_px (x, y) of the image."""
        scale = self.scale * pixel_px
        # OpenCV puts the centres of pixels at integers, hence the halves.
        matrix = np.column_stack([np.diag(scale), self.to_crop(origin_px) + 0.5 * scale - 0.5])
        size = (self.output_px, self.output_px)
        return cast(Rgb, cv2.warpAffine(source, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT))


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


def checked_box(box_xywh: ArrayLike) -> tuple[float, float, float, float]:
    """x, y, width, height in pixels, or a UserError."""
    try:
        box = np.asarray(box_xywh, np.float64)
    except (TypeError, ValueError):
        raise UserError("a box is four numbers: x, y, width and height in pixels") from None
    if box.shape != (4,):
        raise UserError("a box is four numbers: x, y, width and height in pixels")
    x, y, width, height = (float(value) for value in box)
    shown = f"the box {x:g} {y:g} {width:g} {height:g}"
    if not np.isfinite(box).all():
        raise UserError(f"{shown} is not finite: give x, y, width and height in pixels")
    if min(width, height) < _MIN_BOX_PX:
        raise UserError(f"{shown} has no extent: give x, y, width and height in pixels, not two corners")
    if np.abs(box).max() > MAX_BOX_PX:
        raise UserError(f"{shown} is out of any image: give x, y, width and height in pixels")
    return x, y, width, height


def box_meets_image(box_xywh: Sequence[float], width: int, height: int) -> bool:
    """Whether any of the box lies in the image."""
    x, y, box_width, box_height = box_xywh
    return x < width and y < height and x + box_width > 0 and y + box_height > 0
