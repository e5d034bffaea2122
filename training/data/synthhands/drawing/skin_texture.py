"""Flat textures of the back of the hand and of the palm: creases, wrinkles and mottling, drawn on the hand at rest.

Values are how much the skin is darkened, 0 none; mottling goes both ways. On the arm there is only mottling.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.synthhands.arrays import Float32s, Floats
from training.data.synthhands.drawing.paint import TEXTURE_ORIGIN_M, TEXTURE_PX_PER_M
from training.data.synthhands.scene.posable import FINGER_JOINTS, Rig, child_of, unit
from training.data.synthhands.table import Range

SIZE_M = (0.60, 0.235)
_FRACTION_BITS = 4  # of line ends, for cv2

# The joints that crease: all but the thumb's base, with their level in the finger.
_CREASED = [(level, chain[level]) for name, chain in FINGER_JOINTS.items() for level in range(name == "thumb", 3)]


def skin_texture(rig: Rig, worn: Range, rng: np.random.Generator) -> Float32s:
    """(2, H, W) for one person."""
    shape = round(SIZE_M[1] * TEXTURE_PX_PER_M), round(SIZE_M[0] * TEXTURE_PX_PER_M)
    wear = rng.uniform(*worn)
    layers = []
    for draw_side in ((_knuckle_wrinkles,), (_finger_creases, _palm_lines)):  # the back, the palm
        lines = np.zeros(shape, np.uint8)
        for draw in draw_side:
            draw(lines, rig, rng)
        drawn = cv2.GaussianBlur(lines, (0, 0), 0.75).astype(np.float32) * np.float32(wear / 255)
        layers.append(drawn + _mottling(shape, rng))
    return np.stack(layers).astype(np.float32)


def _mottling(shape: tuple[int, int], rng: np.random.Generator) -> Float32s:
    """Blotches of a few sizes, none finer than about 4 mm."""
    total = np.zeros(shape, np.float32)
    for cell_px, amount in ((4, 0.022), (10, 0.035), (28, 0.045)):
        cells = rng.normal(size=(shape[0] // cell_px + 3, shape[1] // cell_px + 3)).astype(np.float32)
        fine = cv2.resize(cells, None, fx=cell_px, fy=cell_px, interpolation=cv2.INTER_CUBIC)
        total += np.float32(amount) * fine[: shape[0], : shape[1]]
    return total


def _finger_creases(lines: NDArray[np.uint8], rig: Rig, rng: np.random.Generator) -> None:
    for level, joint in _CREASED:
        centre, along, across, half = _frame(rig, joint)
        # The crease at a finger's root lies at the web, well beyond the knuckle.
        shift = 0.55 * float(np.linalg.norm(rig.joints[child_of(joint)] - rig.joints[joint])) if level == 0 else 0.0
        for gap in (0.0, 0.0022) if level == 1 else (0.0,):
            at = centre + along * (shift + gap + rng.normal(0, 0.0004))
            bow = along * rng.normal(0.0006, 0.0005)
            strength = int(np.clip(rng.normal(105, 22), 50, 170) * (1 if gap == 0 else 0.6))
            _stroke(lines, [at - across * half, at + bow, at + across * half], strength)
        for _ in range(int(rng.integers(1, 4))):
            at = centre + along * (shift + rng.normal(0, 0.0035))
            a, b = np.sort(rng.uniform(-1, 1, 2)) * half
            ends = [at + across * a, at + across * b + along * rng.normal(0, 0.0006)]
            _stroke(lines, ends, int(rng.integers(20, 50)))


def _palm_lines(lines: NDArray[np.uint8], rig: Rig, rng: np.random.Generator) -> None:
    """The three main lines, between landmarks of the palm."""
    flat = rig.joints[:, [0, 2]]
    wrist, index, middle, ring, pinky, thumb = (flat[i] for i in (0, 1, 4, 10, 7, 13))

    def point(*weights: float) -> Floats:
        total = sum(w * p for w, p in zip(weights, (wrist, index, middle, ring, pinky, thumb), strict=True))
        return np.asarray(total) + rng.normal(0, 0.0025, 2)

    life = [
        point(0.20, 0.75, 0, 0, 0, 0.05),
        point(0.30, 0.25, 0.2, 0, 0, 0.25),
        point(0.55, 0, 0.2, 0, 0, 0.25),
        point(0.85, 0, 0, 0.05, 0, 0.10),
    ]
    head = [life[0] + rng.normal(0, 0.001, 2), point(0.25, 0.2, 0.35, 0.2, 0, 0), point(0.40, 0, 0, 0.25, 0.35, 0)]
    heart = [point(0.04, 0.45, 0.51, 0, 0, 0), point(0.10, 0, 0.4, 0.5, 0, 0), point(0.20, 0, 0, 0.05, 0.75, 0)]
    for path in (life, head, heart):
        _stroke(lines, _curve(path), int(np.clip(rng.normal(95, 25), 40, 160)))
    for _ in range(int(rng.integers(3, 9))):
        start = point(*(rng.dirichlet(np.ones(6))))
        _stroke(lines, [start, start + rng.normal(0, 0.010, 2)], int(rng.integers(15, 45)))
    across = np.array([0.0, 1.0])
    for gap in (0.004, 0.008):  # bracelet lines of the wrist
        at = wrist + np.array([gap, 0.0])
        middle = at + np.array([0.0015, 0.0])
        _stroke(lines, [at - across * 0.024, middle, at + across * 0.024], int(rng.integers(30, 80)))


def _knuckle_wrinkles(lines: NDArray[np.uint8], rig: Rig, rng: np.random.Generator) -> None:
    for level, joint in _CREASED:
        centre, along, across, half = _frame(rig, joint)
        count, strength, share, spread_m = ((3, 40, 0.75, 0.0045), (6, 105, 0.85, 0.0028), (3, 65, 0.6, 0.0018))[level]
        for _ in range(count):
            offset = rng.normal(0, spread_m)
            at = centre + along * offset
            # Wrinkles of the back bow away from the joint on both sides.
            bow = along * (0.5 * offset)
            wide = half * share * rng.uniform(0.55, 1.0)
            path = _curve([at - across * wide, at + bow, at + across * wide])
            _stroke(lines, path, int(np.clip(rng.normal(strength, 15), 10, 130)))


def _frame(rig: Rig, joint: int) -> tuple[Floats, Floats, Floats, float]:
    """A joint's place in the flat texture plane (x, z), m, unit vectors along and across its bone, its half width."""
    along = unit((rig.joints[child_of(joint)] - rig.joints[joint])[[0, 2]])
    half = 1.25 * float(rig.sphere_radii[rig.sphere_bones == joint].max())
    return rig.joints[joint][[0, 2]], along, np.array([-along[1], along[0]]), half


def _curve(points: list[Floats]) -> list[Floats]:
    """Points along the Bezier curve of the given control points."""
    steps, order = np.linspace(0, 1, 14)[:, None], len(points) - 1
    shares = [math.comb(order, k) * steps**k * (1 - steps) ** (order - k) for k in range(order + 1)]
    return list(np.sum([share * point for share, point in zip(shares, points, strict=True)], axis=0))


def _stroke(lines: NDArray[np.uint8], points: list[Floats], strength: int) -> None:
    """Draws a thin line."""
    pixels = (np.array(points) - TEXTURE_ORIGIN_M) * TEXTURE_PX_PER_M - 0.5
    fixed = np.round(pixels * (1 << _FRACTION_BITS)).astype(np.int32)
    cv2.polylines(lines, [fixed], False, strength, 1, cv2.LINE_AA, _FRACTION_BITS)
