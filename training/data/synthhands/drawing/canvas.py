"""What stands behind the hands: walls, rooms, clutter, letters, cloth, leaves, people. sRGB bytes, drawn by OpenCV.

A canvas is drawn once and looked at from several places, mirrored at its edges.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from runtime.errors import UserError
from runtime.image.reading import read_image
from training.data.synthhands.arrays import Bytes, Float32s, Floats
from training.data.synthhands.table import Table

CANVAS_PX = 448
SKIN_TONES = (  # linear albedo from light to dark
    *((0.78, 0.55, 0.44), (0.69, 0.46, 0.35), (0.58, 0.36, 0.25)),
    *((0.43, 0.25, 0.165), (0.28, 0.155, 0.10), (0.165, 0.088, 0.058)),
)
_WOOD, _PLASTER, _SLATE, _LEAF = (0.55, 0.40, 0.26), (0.82, 0.79, 0.73), (0.36, 0.40, 0.44), (0.34, 0.42, 0.26)
_SAND, _BRICK, _SKY, _CHARCOAL = (0.73, 0.64, 0.50), (0.55, 0.33, 0.26), (0.58, 0.68, 0.78), (0.18, 0.18, 0.19)
_FAMILIAR = np.array([_WOOD, _PLASTER, _SLATE, _LEAF, _SAND, _BRICK, _SKY, _CHARCOAL])  # sRGB
_PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_LETTERS = "abcdefghiklmnoprstuvwABCDEFGHIKLMNOPRST 0123456789 .,-"


def find_photographs(folder: Path) -> tuple[Path, ...]:
    """The user's pictures below a folder, in order; a UserError where there are none."""
    found = tuple(sorted(path for path in folder.rglob("*") if path.suffix.lower() in _PHOTO_ENDINGS))
    if not found:
        raise UserError(f"no pictures ({', '.join(_PHOTO_ENDINGS)}) below {folder}: give another folder of backgrounds")
    return found


def draw_canvas(table: Table, sharp: bool, photographs: tuple[Path, ...], rng: np.random.Generator) -> Bytes:
    """(CANVAS_PX, CANVAS_PX, 3); a part of one of the photographs for a share of canvases, where there are any."""
    if photographs and rng.random() < table.photographs:
        canvas = _cut_photograph(read_image(photographs[int(rng.integers(len(photographs)))]), rng)
    else:
        canvas = _draw(rng, busy=rng.random() < table.busy)
    if not sharp:
        sigma = float(np.exp(rng.uniform(np.log(2.5), np.log(11))))
        return np.asarray(cv2.GaussianBlur(canvas, (0, 0), sigma), np.uint8)
    return canvas


def familiar_colour(rng: np.random.Generator, saturation: float = 0.25) -> Floats:
    """A colour such as walls, things and clothes have, sRGB 0..1; a few are bright."""
    chance = rng.random()
    if chance < 0.45:
        colour = _FAMILIAR[int(rng.integers(len(_FAMILIAR)))] * rng.uniform(0.6, 1.15) + rng.normal(0, 0.03, 3)
    elif chance < 0.93:
        colour = rng.uniform(0.05, 0.9) * (1 + saturation * rng.uniform(-1, 1, 3) * (0.3 + rng.random()))
    else:
        colour = rng.uniform(0.02, 0.95, 3)
    return np.clip(colour, 0.02, 0.97)


def _cut_photograph(photograph: Bytes, rng: np.random.Generator) -> Bytes:
    """A square of it, at the canvas's size."""
    height, width = photograph.shape[:2]
    side = int(min(height, width) * rng.uniform(0.35, 1.0))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    part = photograph[top : top + side, left : left + side]
    how = cv2.INTER_AREA if side > CANVAS_PX else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (CANVAS_PX, CANVAS_PX), interpolation=how))


def _draw(rng: np.random.Generator, busy: bool) -> Bytes:
    canvas = np.empty((CANVAS_PX, CANVAS_PX, 3), np.uint8)
    canvas[:] = _bytes(familiar_colour(rng))
    base = rng.random()
    if base < 0.35:
        _grain(canvas, rng)
    elif base < 0.5:
        _cloth(canvas, rng)
    layers = [_room, _things, _shelf, _letters, _leaves, _person, _small_things, _wires, _cloth_piece]
    weights = np.array([0.8, 1.0, 0.6, 0.7, 0.6, 0.8, 1.0, 0.5, 0.5])
    count = int(rng.integers(3, 8)) if busy else int(rng.integers(0, 2))
    chosen = rng.choice(len(layers), size=count, replace=False, p=weights / weights.sum())
    for number in sorted(chosen):  # the room behind what is in it
        if rng.random() < 0.25:  # what is farther away is less sharp
            cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.7, 3.0), canvas)
        before = canvas.copy()
        layers[number](canvas, rng)
        _cast_shadow(canvas, before, rng)
    # Light that is never even, and the texture of what it falls on.
    light = 1 + rng.uniform(0.1, 0.5) * _clouds(rng, (2, 3))
    grain = rng.uniform(0.0, 0.14) * _clouds(rng, (24, 80, 200)) if rng.random() < 0.7 else 0
    shade = np.clip(light + grain, 0.25, 1.8).astype(np.float32)
    return np.asarray(cv2.multiply(canvas, cv2.merge([shade] * 3), dtype=cv2.CV_8U), np.uint8)


def _cast_shadow(canvas: Bytes, before: Bytes, rng: np.random.Generator) -> None:
    """Darken, softly and to one side, what lies behind what was drawn last."""
    fresh = 255 - cv2.inRange(cv2.absdiff(canvas, before), (0, 0, 0), (0, 0, 0))
    small = cv2.resize(fresh, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    shift = np.array([[1, 0, rng.uniform(-4, 4)], [0, 1, rng.uniform(-1, 5)]])
    small = cv2.warpAffine(cv2.GaussianBlur(small, (0, 0), rng.uniform(0.8, 4.0)), shift, small.shape[::-1])
    shadow = cv2.resize(small, fresh.shape[::-1], interpolation=cv2.INTER_LINEAR)
    shadow = cv2.multiply(cv2.subtract(shadow, fresh), np.ones_like(shadow), scale=rng.uniform(0.2, 0.8))
    canvas[:] = cv2.multiply(canvas, 255 - cv2.cvtColor(shadow, cv2.COLOR_GRAY2BGR), scale=1 / 255)


def _bytes(colour: Floats) -> tuple[float, ...]:
    return tuple((np.clip(colour, 0, 1) * 255).tolist())


def _clouds(rng: np.random.Generator, octaves: tuple[int, ...]) -> Float32s:
    """Noise of about unit range, coarse to fine."""
    total = np.zeros((CANVAS_PX, CANVAS_PX), np.float32)
    for amount, cells in enumerate(octaves):
        grid = rng.standard_normal((cells, cells), np.float32)
        total += np.float32(0.6**amount) * cv2.resize(grid, (CANVAS_PX, CANVAS_PX), interpolation=cv2.INTER_LINEAR)
    return total


def _scale(rng: np.random.Generator, low: float, high: float) -> float:
    """A size, px: all scales alike."""
    return float(CANVAS_PX * np.exp(rng.uniform(np.log(low), np.log(high))))


def _quad(rng: np.random.Generator, low: float, high: float, tilt: float = 0.15) -> tuple[Floats, Floats]:
    """A turned rectangle's four corners (4, 2), px, and its centre."""
    centre = rng.uniform(-0.05, 1.05, 2) * CANVAS_PX
    half = np.array([_scale(rng, low, high), _scale(rng, low, high)]) / 2
    turn = rng.normal(0, tilt) if rng.random() < 0.7 else rng.uniform(0, np.pi)
    spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return centre + (np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half) @ spin.T, centre


def _fill(canvas: Bytes, corners: Floats, colour: Floats) -> None:
    cv2.fillPoly(canvas, [np.round(corners * 16).astype(np.int32)], _bytes(colour), cv2.LINE_AA, 4)


def _oval(canvas: Bytes, centre: Floats, half: Floats, turn_deg: float, colour: Floats) -> None:
    at, axes = np.round(centre * 16).astype(int).tolist(), np.round(np.maximum(half, 0.5) * 16).astype(int).tolist()
    cv2.ellipse(canvas, at, axes, turn_deg, 0, 360, _bytes(colour), -1, cv2.LINE_AA, 4)


def _grain(canvas: Bytes, rng: np.random.Generator) -> None:
    """Wood, stone or plaster: two related colours mixed by stretched noise."""
    cells = (int(rng.integers(2, 7)), int(rng.integers(20, 160)))
    grid = rng.standard_normal(cells if rng.random() < 0.5 else cells[::-1], np.float32)
    mix = cv2.resize(grid, (CANVAS_PX, CANVAS_PX), interpolation=cv2.INTER_CUBIC)[:, :, None]
    shade = np.clip(1 + rng.uniform(0.03, 0.22) * mix, 0.3, 1.7)
    canvas[:] = np.clip(canvas * shade, 0, 255).astype(np.uint8)


def _cloth(canvas: Bytes, rng: np.random.Generator) -> None:
    """Stripes or a check with folds."""
    x, y = np.meshgrid(np.arange(CANVAS_PX, dtype=np.float32), np.arange(CANVAS_PX, dtype=np.float32))
    turn, wide = rng.uniform(0, np.pi), _scale(rng, 0.008, 0.12)
    folds = rng.uniform(0, 0.25) * wide * _clouds(rng, (4,))
    along = (np.cos(turn) * x + np.sin(turn) * y) / wide + folds / wide
    across = (np.cos(turn) * y - np.sin(turn) * x) / wide + folds / wide
    dark = (np.sin(along * 2 * np.pi) > rng.uniform(-0.6, 0.6)).astype(np.float32)
    if rng.random() < 0.5:
        dark = (dark + (np.sin(across * 2 * np.pi) > 0)) / 2
    other = np.array(_bytes(familiar_colour(rng)), np.float32)
    canvas[:] = (canvas + dark[:, :, None] * rng.uniform(0.2, 0.9) * (other - canvas)).astype(np.uint8)


def _cloth_piece(canvas: Bytes, rng: np.random.Generator) -> None:
    """A sleeve, a towel, a cushion: a patch of cloth with a soft outline."""
    patch = np.empty_like(canvas)
    patch[:] = _bytes(familiar_colour(rng, 0.5))
    if rng.random() < 0.5:
        _cloth(patch, rng)
    outline = np.zeros(canvas.shape[:2], np.uint8)
    centre, half = rng.uniform(0, 1, 2) * CANVAS_PX, np.array([_scale(rng, 0.1, 0.7), _scale(rng, 0.05, 0.3)])
    _oval(outline, centre, half, rng.uniform(0, 180), np.ones(1))
    canvas[outline > 127] = patch[outline > 127]


def _room(canvas: Bytes, rng: np.random.Generator) -> None:
    """A floor or table, windows and furniture."""
    edge, tilt = rng.uniform(0.3, 0.9) * CANVAS_PX, rng.normal(0, 0.08) * CANVAS_PX
    below = np.array([(0, edge), (CANVAS_PX, edge + tilt), (CANVAS_PX, CANVAS_PX), (0, CANVAS_PX)], float)
    _fill(canvas, below, familiar_colour(rng))
    for _ in range(int(rng.integers(1, 6))):
        corners, centre = _quad(rng, 0.12, 0.7, 0.05)
        _fill(canvas, corners, familiar_colour(rng) if rng.random() < 0.8 else np.array([0.97, 0.97, 0.93]))
        if rng.random() < 0.6:  # a frame, a door's panel, a screen
            _fill(canvas, centre + rng.uniform(0.6, 0.92) * (corners - centre), familiar_colour(rng))


def _things(canvas: Bytes, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(4, 22))):
        if rng.random() < 0.6:
            corners, centre = _quad(rng, 0.02, 0.35)
            _fill(canvas, corners, familiar_colour(rng, 0.45))
            if rng.random() < 0.5:
                _fill(canvas, centre + rng.uniform(0.3, 0.9) * (corners - centre), familiar_colour(rng, 0.45))
        else:
            centre, half = rng.uniform(0, 1, 2) * CANVAS_PX, np.array([_scale(rng, 0.01, 0.2), _scale(rng, 0.01, 0.2)])
            turn, colour = rng.uniform(0, 180), familiar_colour(rng, 0.45)
            _oval(canvas, centre, half, turn, colour)
            _oval(canvas, centre - 0.2 * half, half * 0.5, turn, np.clip(colour * rng.uniform(0.8, 1.7), 0, 1))


def _small_things(canvas: Bytes, rng: np.random.Generator) -> None:
    """Much of about one kind: pebbles, beads, tiles, bolts."""
    first, second = familiar_colour(rng, 0.5), familiar_colour(rng, 0.5)
    size, count = _scale(rng, 0.004, 0.04), int(rng.integers(30, 160))
    middle, spread = rng.uniform(0, 1, 2) * CANVAS_PX, rng.uniform(0.1, 0.6) * CANVAS_PX
    for at in rng.normal(middle, spread, (count, 2)):
        colour = (first if rng.random() < 0.6 else second) * rng.uniform(0.6, 1.4)
        _oval(canvas, at, size * rng.uniform(0.4, 1.6, 2), rng.uniform(0, 180), colour)


def _shelf(canvas: Bytes, rng: np.random.Generator) -> None:
    """Books, boards, bars or keys in a row."""
    start, step = rng.uniform(-0.1, 0.8, 2) * CANVAS_PX, _scale(rng, 0.012, 0.08)
    height, upright, alike = _scale(rng, 0.06, 0.5), rng.random() < 0.6, rng.random() < 0.4
    colour = familiar_colour(rng, 0.45)
    for number in range(int(rng.integers(5, 30))):
        near, far = number * step, (number + rng.uniform(0.7, 1.0)) * step
        corners = np.array([(near, 0), (far, 0), (far, height), (near, height)]) * (1, rng.uniform(0.8, 1.1))
        shade = colour * rng.uniform(0.85, 1.15) if alike else familiar_colour(rng, 0.45)
        _fill(canvas, start + (corners if upright else corners[:, ::-1]), shade)


def _letters(canvas: Bytes, rng: np.random.Generator) -> None:
    """Posters, pages, screens, labels."""
    for _ in range(int(rng.integers(1, 5))):
        corners, _ = _quad(rng, 0.1, 0.6, 0.0)
        low, high = corners.min(axis=0), corners.max(axis=0)
        light = rng.random() < 0.6
        if rng.random() < 0.8:
            paper = rng.uniform(0.8, 1.0, 3) if light else familiar_colour(rng) * 0.5
            _fill(canvas, np.array([low, (high[0], low[1]), high, (low[0], high[1])]), paper)
        ink = rng.uniform(0, 0.3, 3) if light else rng.uniform(0.6, 1.0, 3)
        size, font = float(np.exp(rng.uniform(np.log(0.25), np.log(2.5)))), int(rng.integers(0, 8))
        for row in np.arange(low[1] + 20 * size, high[1], 26 * size)[:12]:
            text = "".join(rng.choice(list(_LETTERS), int((high[0] - low[0]) / (16 * size)) + 1))
            cv2.putText(canvas, text, (int(low[0]), int(row)), font, size, _bytes(ink), 1 + int(size), cv2.LINE_AA)


def _leaves(canvas: Bytes, rng: np.random.Generator) -> None:
    colour, size = np.array(_LEAF) * rng.uniform(0.5, 1.3) + rng.normal(0, 0.05, 3), _scale(rng, 0.01, 0.07)
    middle, spread = rng.uniform(0, 1, 2) * CANVAS_PX, rng.uniform(0.1, 0.5) * CANVAS_PX
    for at in rng.normal(middle, spread, (int(rng.integers(60, 240)), 2)):
        half = size * np.array([1.0, rng.uniform(0.2, 0.5)]) * rng.uniform(0.5, 1.5)
        _oval(canvas, at, half, rng.uniform(0, 180), np.clip(colour * rng.uniform(0.4, 1.7), 0, 1))


def _wires(canvas: Bytes, rng: np.random.Generator) -> None:
    """Cables, branches, edges."""
    for _ in range(int(rng.integers(3, 16))):
        points = np.cumsum(rng.normal(0, 0.12, (8, 2)), axis=0) * CANVAS_PX + rng.uniform(0, 1, 2) * CANVAS_PX
        if rng.random() < 0.5:
            points = points[[0, -1]]
        drawn, wide = [np.round(points * 16).astype(np.int32)], int(rng.integers(1, 7))
        cv2.polylines(canvas, drawn, False, _bytes(familiar_colour(rng, 0.45)), wide, cv2.LINE_AA, 4)


def _person(canvas: Bytes, rng: np.random.Generator) -> None:
    """Clothes, neck, face and hair of somebody."""
    tone = rng.uniform(0, len(SKIN_TONES) - 1.001)
    skin = np.array(SKIN_TONES[int(tone)]) * rng.uniform(0.4, 1.1)
    skin = np.clip(skin, 0, 1) ** (1 / 2.2)
    size = _scale(rng, 0.12, 0.75)
    centre = rng.uniform(0.1, 0.9, 2) * CANVAS_PX
    lean = rng.normal(0, 12)

    def oval(x: float, y: float, width: float, height: float, colour: Floats) -> None:
        _oval(canvas, centre + size * np.array([x, y]), size * np.array([width, height]), lean, colour)

    clothes, hair = familiar_colour(rng, 0.45), familiar_colour(rng) * rng.uniform(0.1, 0.8)
    oval(0, 1.75, 1.25, 1.15, clothes)
    oval(0, 0.75, 0.22, 0.4, skin * 0.85)
    if rng.random() < 0.75:
        oval(0, -0.12, 0.47, 0.62, hair)
    oval(0, 0.05, 0.38, 0.52, skin)
    if rng.random() < 0.8:
        for side in (-1, 1):
            oval(0.16 * side, -0.02, 0.07, 0.035, np.full(3, 0.85))
            oval(0.16 * side, -0.02, 0.035, 0.035, np.full(3, 0.1))
            oval(0.16 * side, -0.11, 0.09, 0.02, hair)
        oval(0.02, 0.13, 0.05, 0.09, skin * 0.88)
        oval(0, 0.32, 0.13, 0.035, skin * (0.85, 0.55, 0.55))
    for side in (-1, 1):  # arms in sleeves
        if rng.random() < 0.6:
            oval(1.2 * side, 2.0, 0.32, 1.0, clothes * rng.uniform(0.8, 1.1))
