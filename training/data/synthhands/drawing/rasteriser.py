"""From triangles to pixels: the pinhole camera, the z-buffer, and what is in front of what.

Pixel centres lie at integers + 0.5. Camera axes are x right, y down, z away; triangles are counter-clockwise seen from
outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.synthhands.arrays import Bytes, Float32s, Floats, Int32s
from training.data.synthhands.kernels import kernel, part_of_kernel

FAR = np.float32(1e9)


@dataclass(frozen=True)
class Pinhole:
    """A camera without distortion."""

    focal_px: Floats  # (2,)
    principal_px: Floats  # (2,)
    size_px: tuple[int, int]  # width, height

    def project(self, points: Floats) -> Floats:
        """Camera-space points (..., 3) -> pixels (..., 2)."""
        return points[..., :2] / points[..., 2:] * self.focal_px + self.principal_px


class Buffers(NamedTuple):
    """What is nearest at each pixel."""

    depth: NDArray[Any]  # (H, W) FAR where there is nothing
    face_of: Int32s  # (H, W) -1 where there is nothing
    weights: Float32s  # (H, W, 2) shares of the face's second and third corner, correct in perspective; or empty
    covered: Bytes  # (H, W) bits of all faces over the pixel, nearest or not; or empty


def empty_buffers(size: tuple[int, int], dtype: Any = np.float32, weights: bool = False, bits: bool = False) -> Buffers:
    """Buffers of (H, W) pixels, with `weights` or `covered` where they are wanted."""
    return Buffers(
        np.full(size, FAR, dtype),
        np.full(size, -1, np.int32),
        np.empty((*size, 2) if weights else (0, 0, 2), np.float32),
        np.zeros(size if bits else (0, 0), np.uint8),
    )


@kernel
def rasterise(pixels: Floats, depth: Floats, faces: Int32s, bits: Bytes, two_sided: bool, buffers: Buffers) -> None:
    """Draws triangles into `buffers`.

    `pixels` (V, 2) are in the buffers' own pixels, the centre of pixel 0 at 0.5. `depth` (V,) is interpolated along the
    triangles: as it is, or, where `weights` are wanted, as its inverse (they are given inverted). `bits` (F,) go into
    `covered`. Faces seen from behind are left out, but with `two_sided`.
    """
    height, width = buffers.depth.shape
    perspective, covering = buffers.weights.size > 0, buffers.covered.size > 0
    for face in range(faces.shape[0]):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        x0, y0 = pixels[a, 0], pixels[a, 1]
        x1, y1 = pixels[b, 0], pixels[b, 1]
        x2, y2 = pixels[c, 0], pixels[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0.0 or (area > 0.0 and not two_sided):  # seen from behind, in image axes with y down
            continue
        first_row = max(0, int(np.ceil(min(y0, y1, y2) - 0.5)))
        last_row = min(height - 1, int(np.floor(max(y0, y1, y2) - 0.5)))
        left, right = min(x0, x1, x2), max(x0, x1, x2)
        if first_row > last_row or right < 0.0 or left > width:
            continue
        # Barycentric coordinates are linear over the image: w = start + x * step along a row.
        step1, down1 = (y2 - y0) / area, -(x2 - x0) / area
        step2, down2 = -(y1 - y0) / area, (x1 - x0) / area
        step0 = -step1 - step2
        q0, q1, q2 = depth[a], depth[b], depth[c]
        for row in range(first_row, last_row + 1):
            y = row + 0.5
            start1 = -x0 * step1 + (y - y0) * down1
            start2 = -x0 * step2 + (y - y0) * down2
            low, high = _span(1.0 - start1 - start2, step0, left, right)
            low, high = _span(start1, step1, low, high)
            low, high = _span(start2, step2, low, high)
            for column in range(max(0, int(np.ceil(low - 0.5))), min(width - 1, int(np.floor(high - 0.5))) + 1):
                x = column + 0.5
                w1, w2 = start1 + x * step1, start2 + x * step2
                z = (1.0 - w1 - w2) * q0 + w1 * q1 + w2 * q2
                if perspective:
                    z = 1.0 / z
                if covering:
                    buffers.covered[row, column] |= bits[face]
                if z < buffers.depth[row, column]:
                    buffers.depth[row, column] = z
                    buffers.face_of[row, column] = face
                    if perspective:
                        buffers.weights[row, column, 0] = w1 * q1 * z
                        buffers.weights[row, column, 1] = w2 * q2 * z


@part_of_kernel
def _span(start: float, step: float, low: float, high: float) -> tuple[float, float]:
    """The part of low..high where start + x * step is not negative."""
    if step > 0.0:
        low = max(low, -start / step)
    elif step < 0.0:
        high = min(high, -start / step)
    return low, high


def part_coverage(
    pixels: Floats, depth_m: Floats, faces: Int32s, parts: Bytes, size_px: tuple[int, int]
) -> tuple[Bytes, Bytes]:
    """Which part is in front (H, W), 0 for none, and which parts lie over a pixel at all (H, W), bit 1 << part.

    Flat triangles without perspective correction: for small previews.
    """
    buffers = empty_buffers(size_px[::-1], np.float64, bits=True)
    rasterise(pixels, depth_m, faces, np.left_shift(np.uint8(1), parts), False, buffers)
    front = np.append(parts, np.uint8(0))[buffers.face_of]  # face -1 is the last: nothing
    return front, buffers.covered
