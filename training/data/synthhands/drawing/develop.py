"""What the camera does to the light that reaches it: blur and motion, white balance, tone curve, sensor noise."""

from __future__ import annotations

import math

from training.data.synthhands.arrays import Bytes, Float32s
from training.data.synthhands.drawing.layout import AT, CURVE
from training.data.synthhands.drawing.raster import between, f32, pixel_of
from training.data.synthhands.kernels import kernel, part_of_kernel

_MOTION_STEPS = 9
_RED, _GREEN, _BLUE = f32(0.299), f32(0.587), f32(0.114)
_ZERO, _HALF, _ONE = f32(0.0), f32(0.5), f32(1.0)


@kernel
def develop(
    first: int, step: int, count: int, image: Float32s, looks: Float32s, noise: Float32s, picture: Bytes
) -> None:
    """Linear RGB (B, H, W, 3) -> bytes. `noise` is a square bank of normal deviates, wrapped around: a power of 2."""
    height, width = image.shape[1], image.shape[2]
    for i in range(first, count, step):
        b, row, column = pixel_of(i, height, width)
        look = looks[b]
        if row >= look[AT.size + 1] or column >= look[AT.size]:
            continue
        x, y = f32(column) + _HALF, f32(row) + _HALF
        u = look[AT.edge] * x + look[AT.edge + 1] * y + look[AT.edge + 2]
        v = look[AT.edge + 3] * x + look[AT.edge + 4] * y + look[AT.edge + 5]
        if u < _ZERO or v < _ZERO or u > look[AT.edge + 6] or v > look[AT.edge + 7]:
            for c in range(3):
                picture[b, row, column, c] = 0
            continue
        red = _gathered(image, b, row, column, 0, look)
        green = _gathered(image, b, row, column, 1, look)
        blue = _gathered(image, b, row, column, 2, look)
        mean = (red + green + blue) / f32(3.0)
        red = _level(mean + (red - mean) * look[AT.saturation], 0, row, column, look, noise)
        green = _level(mean + (green - mean) * look[AT.saturation], 1, row, column, look, noise)
        blue = _level(mean + (blue - mean) * look[AT.saturation], 2, row, column, look, noise)
        if look[AT.gray] > _ZERO:
            red = _RED * red + _GREEN * green + _BLUE * blue
            green, blue = red, red
        picture[b, row, column, 0] = _byte(red * look[AT.shown_gain] + look[AT.shown_offset])
        picture[b, row, column, 1] = _byte(green * look[AT.shown_gain + 1] + look[AT.shown_offset])
        picture[b, row, column, 2] = _byte(blue * look[AT.shown_gain + 2] + look[AT.shown_offset])


@part_of_kernel
def _gathered(image: Float32s, b: int, row: int, column: int, c: int, look: Float32s) -> float:
    """One colour of the light at a pixel, after motion and blur; at the edges what is there is repeated."""
    bottom, right = int(look[AT.size + 1]) - 1, int(look[AT.size]) - 1
    total = _ZERO
    if look[AT.motion] != _ZERO or look[AT.motion + 1] != _ZERO:
        for k in range(_MOTION_STEPS):
            share = (f32(k) - f32(_MOTION_STEPS // 2)) / f32(_MOTION_STEPS - 1)
            x = min(max(f32(column) + share * look[AT.motion], _ZERO), f32(right) - f32(0.001))
            y = min(max(f32(row) + share * look[AT.motion + 1], _ZERO), f32(bottom) - f32(0.001))
            i, j = int(x), int(y)
            fx, fy = x - f32(i), y - f32(j)
            above = between(image[b, j, i, c], image[b, j, i + 1, c], fx)
            total += between(above, between(image[b, j + 1, i, c], image[b, j + 1, i + 1, c], fx), fy)
        return total / f32(_MOTION_STEPS)
    if look[AT.blur] >= _ONE:
        return image[b, row, column, c]
    reach = 2 if look[AT.blur + 2] > f32(0.004) else 1
    for down in range(-reach, reach + 1):
        weight, j = look[AT.blur + abs(down)], min(max(row + down, 0), bottom)
        for aside in range(-reach, reach + 1):
            total += weight * look[AT.blur + abs(aside)] * image[b, j, min(max(column + aside, 0), right), c]
    return total


@part_of_kernel
def _level(light: float, c: int, row: int, column: int, look: Float32s, noise: Float32s) -> float:
    """Light -> level shown, 0..1, with sensor noise."""
    place = math.sqrt(min(max(light * look[AT.gains + c], _ZERO), _ONE)) * f32(CURVE - 1.001)
    i = int(place)
    shown = look[AT.curve + i] + (look[AT.curve + i + 1] - look[AT.curve + i]) * (place - f32(i))
    # The bank is shifted per colour, so that noise is coloured as a sensor's is.
    y = (row + int(look[AT.noise_at]) + 173 * c) & (noise.shape[0] - 1)
    x = (column + int(look[AT.noise_at + 1]) + 331 * c) & (noise.shape[1] - 1)
    shown += noise[y, x] * (look[AT.noise] + look[AT.noise + 1] * math.sqrt(max(shown, _ZERO)))
    return min(max(shown, _ZERO), _ONE)


@part_of_kernel
def _byte(level: float) -> int:
    return int(min(max(level, _ZERO), _ONE) * f32(255.0) + _HALF)
