"""What stands behind the hands, out of focus: a studio, a plain wall, a room, a person's body, a soft texture.

Drawn small and blurred, in linear RGB, then enlarged: a few milliseconds at most.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.synthhands.arrays import Float32s, Floats

_SCALE = 4  # pictures are drawn this much smaller
_KINDS = ("studio", "wall", "room", "texture")
_WEIGHTS = (0.30, 0.20, 0.32, 0.18)
_BODY_SHARE = {"studio": 0.45, "wall": 0.5, "room": 0.5, "texture": 0.25}
_WOOD, _PLASTER, _SLATE, _LEAF = (0.55, 0.40, 0.26), (0.82, 0.79, 0.73), (0.36, 0.40, 0.44), (0.34, 0.42, 0.26)
_SAND, _BRICK, _SKY, _CHARCOAL = (0.73, 0.64, 0.50), (0.55, 0.33, 0.26), (0.58, 0.68, 0.78), (0.18, 0.18, 0.19)
_FAMILIAR = np.array([_WOOD, _PLASTER, _SLATE, _LEAF, _SAND, _BRICK, _SKY, _CHARCOAL])  # sRGB


def background(
    size_px: tuple[int, int], skin_colour: Floats, clothes_colour: Floats, rng: np.random.Generator
) -> Float32s:
    """(H, W, 3) linear RGB. The colours (3,) are of the person's neck and face, and of what they wear."""
    width, height = size_px
    small = -(-width // _SCALE), -(-height // _SCALE)
    kind = str(rng.choice(_KINDS, p=_WEIGHTS))
    picture = {"studio": _studio, "wall": _wall, "room": _room, "texture": _texture}[kind](small, rng)
    blur = rng.uniform(0.9, 2.6)
    if rng.random() < _BODY_SHARE[kind]:
        picture = blurred(picture, blur)
        _person(picture, skin_colour, clothes_colour, rng)
    picture = blurred(picture, blur)
    # Folds, dirt and light that is never quite even.
    uneven = np.float32(rng.uniform(0.02, 0.12)) * _clouds(small, rng, (5, 12), 0.6)
    picture *= np.float32(rng.uniform(0.55, 1.15)) * (1 + uneven[:, :, None])
    large = cv2.resize(picture, (small[0] * _SCALE, small[1] * _SCALE), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(np.maximum(large[:height, :width], 0))


def blurred(picture: Float32s, sigma_px: float) -> Float32s:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma_px), np.float32)


def muted_colour(rng: np.random.Generator, saturation: float = 0.2) -> Floats:
    """A colour such as walls and clothes have, linear RGB."""
    if rng.random() < 0.5:
        srgb = _FAMILIAR[int(rng.integers(len(_FAMILIAR)))] * rng.uniform(0.6, 1.15) + rng.normal(0, 0.03, 3)
    else:
        level = rng.uniform(0.08, 0.85)
        srgb = level * (1 + saturation * rng.uniform(-1, 1, 3) * (0.3 + rng.random()))
    gray = srgb.mean()
    return np.clip(gray + (srgb - gray) * rng.uniform(0.35, 0.95), 0.02, 0.95) ** 2.2


def _flat(size: tuple[int, int], colour: Floats) -> Float32s:
    picture = np.empty((size[1], size[0], 3), np.float32)
    picture[:] = colour
    return picture


def _gradient(picture: Float32s, rng: np.random.Generator, low: float, high: float) -> None:
    """Light that falls off to one side, in place."""
    height, width = picture.shape[:2]
    angle = rng.uniform(0, 2 * np.pi)
    x, y = np.linspace(-1, 1, width), np.linspace(-1, 1, height)[:, None]
    ramp = np.cos(angle) * x + np.sin(angle) * y
    factor = (low + high) / 2 + (high - low) / 2 * np.tanh(ramp)
    picture *= factor[:, :, None].astype(np.float32)


def _clouds(size: tuple[int, int], rng: np.random.Generator, octaves: tuple[int, ...], decay: float) -> Float32s:
    """(H, W) noise with zero mean, coarse to fine."""
    total = np.zeros((size[1], size[0]), np.float32)
    amount = 1.0
    for cells in octaves:
        grid = rng.normal(size=(cells, cells)).astype(np.float32)
        total += np.float32(amount) * cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC)
        amount *= decay
    return total


def _studio(size: tuple[int, int], rng: np.random.Generator) -> Float32s:
    """Dark, with struts, lamps and cameras around."""
    picture = _flat(size, np.full(3, rng.uniform(0.004, 0.06)) * rng.uniform(0.8, 1.2, 3))
    _gradient(picture, rng, 0.5, 1.6)
    width, height = size
    for _ in range(int(rng.integers(0, 6))):
        x, lean = rng.uniform(0, width), rng.normal(0, 0.15) * height
        colour = tuple(rng.uniform(0.01, 0.12) * rng.uniform(0.9, 1.1, 3))
        cv2.line(picture, (int(x), 0), (int(x + lean), height), colour, int(rng.integers(1, 4)))
    for _ in range(int(rng.integers(0, 9))):
        at = int(rng.uniform(0, width)), int(rng.uniform(0, height))
        colour = tuple(rng.uniform(0.1, 0.9) * rng.uniform(0.85, 1.1, 3))
        cv2.circle(picture, at, int(rng.integers(1, 4)), colour, -1)
    return picture


def _wall(size: tuple[int, int], rng: np.random.Generator) -> Float32s:
    picture = _flat(size, muted_colour(rng, 0.15))
    _gradient(picture, rng, rng.uniform(0.35, 0.9), rng.uniform(1.0, 1.4))
    picture *= 1 + np.float32(rng.uniform(0.0, 0.06)) * _clouds(size, rng, (4, 11), 0.7)[:, :, None]
    return picture


def _room(size: tuple[int, int], rng: np.random.Generator) -> Float32s:
    """A wall, a floor or table, and furniture, windows and things, as boxes and blobs."""
    width, height = size
    picture = _wall(size, rng)
    if rng.random() < 0.7:
        edge = int(rng.uniform(0.35, 0.95) * height)
        tilt = int(rng.normal(0, 0.06) * height)
        corners = np.array([(0, edge), (width, edge + tilt), (width, height), (0, height)], np.int32)
        _fill(picture, corners, muted_colour(rng))
    for _ in range(int(rng.integers(2, 11))):
        centre = rng.uniform(-0.1, 1.1, 2) * size
        extent = rng.uniform(0.04, 0.35, 2) * min(size) * (1, rng.uniform(0.5, 2.0))
        if rng.random() < 0.75:
            turn = rng.normal(0, 0.12)
            box = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * extent
            spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
            corners = (centre + box @ spin.T).astype(np.int32)
            colour = muted_colour(rng) if rng.random() < 0.88 else rng.uniform(0.6, 1.3) * np.array([1.0, 0.98, 0.94])
            _fill(picture, corners, colour)
            if rng.random() < 0.4:
                _fill(picture, (centre + 0.8 * box @ spin.T).astype(np.int32), muted_colour(rng))
        else:
            angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
            ring = np.stack([np.cos(angles), np.sin(angles)], axis=1) * extent * 0.6
            _fill(picture, (centre + ring).astype(np.int32), muted_colour(rng, 0.3))
    _gradient(picture, rng, rng.uniform(0.5, 1.0), rng.uniform(1.0, 1.3))
    return picture


def _texture(size: tuple[int, int], rng: np.random.Generator) -> Float32s:
    """Two related colours mixed by clouds: cloth, stone, leaves, carpet."""
    mix = _clouds(size, rng, (3, 7, 17, 41), rng.uniform(0.5, 0.85))
    mix = 1 / (1 + np.exp(-np.float32(rng.uniform(0.6, 2.0)) * mix))
    first = muted_colour(rng)
    second = np.clip(first * rng.uniform(0.4, 2.0) * rng.uniform(0.85, 1.15, 3), 0.004, 0.9)
    return (mix[:, :, None] * first + (1 - mix[:, :, None]) * second).astype(np.float32)


def _person(picture: Float32s, skin_colour: Floats, clothes_colour: Floats, rng: np.random.Generator) -> None:
    """The chest of the person the hands belong to, sometimes the neck and chin, in place."""
    height, width = picture.shape[:2]
    centre = width * rng.normal(0.5, 0.12)
    shoulder = height * rng.uniform(-0.35, 0.45)
    half = min(width, height) * rng.uniform(0.42, 0.75)
    skin = np.clip(skin_colour * rng.uniform(0.5, 1.0), 0, 1)
    neck = half * 0.26
    if shoulder > 0:
        at, axes = (int(centre), int(shoulder - half * 0.62)), (int(half * 0.33), int(half * 0.45))
        cv2.ellipse(picture, at, axes, 0, 0, 360, tuple(skin), -1)
        corners = [(centre - neck, shoulder - half * 0.5), (centre + neck, shoulder - half * 0.5)]
        corners += [(centre + neck, shoulder + half * 0.1), (centre - neck, shoulder + half * 0.1)]
        _fill(picture, np.array(corners).astype(np.int32), skin * 0.85)
    half_outline = [(0.35, 0.0), (0.92, 0.22), (1.05, 0.7), (0.98, 3.5)]
    outline = half_outline + [(-x, y) for x, y in reversed(half_outline)]
    corners = [(centre + x * half, shoulder + y * half) for x, y in outline]
    _fill(picture, np.array(corners).astype(np.int32), clothes_colour * rng.uniform(0.5, 1.1))


def _fill(picture: Float32s, corners: NDArray[np.int32], colour: Floats) -> None:
    cv2.fillPoly(picture, [corners], tuple(colour))
