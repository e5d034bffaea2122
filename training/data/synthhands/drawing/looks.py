"""How pictures look: people, lights, what is behind and before them, the camera. Many pictures at a time."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from training.data.synthhands.arrays import Float32s, Floats
from training.data.synthhands.drawing import layout
from training.data.synthhands.drawing.canvas import CANVAS_PX, SKIN_TONES
from training.data.synthhands.drawing.layout import CURVE, LOOK_SIZE, SHAPE_SIZE, SHAPES
from training.data.synthhands.table import Range, Table

_TONES = np.array(SKIN_TONES)
_NAIL = np.array([0.80, 0.56, 0.50])
_METALS = np.array([(0.80, 0.60, 0.28), (0.72, 0.72, 0.72), (0.06, 0.06, 0.07)])
NOISE_PX, _NOISE_SEED = 512, 7
TRAITS = ("adorned", "bodies", "covered")  # of a picture, drawn without clumps


def noise_bank() -> Float32s:
    """Normal deviates that sensor noise is taken from, wherever it starts."""
    return np.random.default_rng(_NOISE_SEED).standard_normal((NOISE_PX, NOISE_PX), np.float32)


def sample_looks(
    table: Table, sizes: Floats, sleeves: Floats, traits: dict[str, Floats], rng: np.random.Generator
) -> Float32s:
    """(B, LOOK_SIZE): everything but the backgrounds' and textures' numbers, which are 0.

    Args:
        sizes: (B, 2) width and height of what is drawn, px.
        sleeves: (B, 2) m, as in Scene.
        traits: (B,) places 0..1 of TRAITS; none that is not given.
    """
    count = len(sizes)
    looks = np.zeros((count, LOOK_SIZE), np.float32)
    adorned, bodies, covered = (traits.get(name, np.ones(count)) for name in TRAITS)
    put = partial(layout.put, looks)

    def uniform(between: Range, *shape: int) -> Floats:
        return rng.uniform(*between, (count, *shape))

    put("size", sizes)
    skin = _sample_people(table, put, uniform, sleeves, adorned, rng)
    _sample_lights(table, put, uniform, rng)
    put("canvas_gain", uniform((0.45, 1.25), 1) * (1 + rng.normal(0, 0.05, (count, 3))))
    put("canvas_at", _canvas_places(sizes, rng))
    put("shapes", _sample_shapes(table, sizes, skin, bodies, rng))
    cover = np.zeros((count, 8))
    cover[:, :2], cover[:, 2:6] = uniform((0.1, 0.9), 2) * sizes, _oval_matrices(sizes, (0.03, 0.13), rng)
    cover[:, 6], cover[:, 7] = rng.random(count) < 0.5, uniform((0.3, 0.7)) * CANVAS_PX
    put("cover", cover * (covered < table.covered)[:, None])
    _sample_camera(table, put, uniform, rng)
    edge = np.zeros((count, 8))  # all of what is drawn is the picture
    edge[:, 0], edge[:, 4], edge[:, 6:] = 1, 1, sizes
    put("edge", edge)
    return looks


def _sample_people(
    table: Table, put: Any, uniform: Any, sleeves: Floats, adorned: Floats, rng: np.random.Generator
) -> Floats:
    """Skin, clothes, rings and watches; returns the skin's colour (B, 3)."""
    count = len(sleeves)
    tone = rng.uniform(0, len(_TONES) - 1, count)
    low = np.minimum(tone.astype(int), len(_TONES) - 2)
    share = (tone - low)[:, None]
    skin = _TONES[low] * (1 - share) + _TONES[low + 1] * share
    skin = skin * uniform((0.85, 1.12), 1) * (1 + rng.normal(0, 0.03, (count, 3)))
    dark = (tone / (len(_TONES) - 1))[:, None]
    put("skin", skin)
    put("darkness", dark)
    put("redness", uniform((0.5, 1.6)))
    put("palm", np.full((count, 3), table.palm[0]))
    put("nail", (skin * 0.62 + _NAIL * (0.36 - 0.12 * dark)) * uniform((0.9, 1.08), 3))
    put("nail_edge", np.tile([table.nails[0], 0, 1.5], (count, 1)))
    put("gloss", uniform((10, 60)))
    put("specular", uniform((0.01, 0.10)))
    put("sleeve", _colours(count, rng))
    put("thing", _colours(count, rng))
    put("strap", _colours(count, rng) * 0.6)
    put("sleeve_from", sleeves)
    striped = rng.random(count) < 0.3
    put("stripes", np.stack([striped * uniform((0.1, 0.8)), uniform((150, 900))], axis=1))
    put("metal", _METALS[rng.integers(len(_METALS), size=count)] * uniform((0.8, 1.1), 1))
    ringed = adorned < table.ringed
    watched = (adorned >= table.ringed / 2) & (adorned < table.ringed / 2 + table.watched)
    side = rng.integers(2, size=count)
    finger = np.where(ringed, rng.choice(5, size=count, p=[0.2, 0.25, 0.4, 0.1, 0.05]), -1)
    put("ring", np.stack([side, finger, uniform((0.25, 0.5)), uniform((0.05, 0.11))], axis=1))
    put("watch", np.stack([np.where(watched, side, -1), uniform((0.022, 0.05)), uniform((0.006, 0.014))], axis=1))
    if table.painted:
        _sample_nails(table, put, uniform, skin, rng)
    return skin


def _sample_nails(table: Table, put: Any, uniform: Any, skin: Floats, rng: np.random.Generator) -> None:
    """What tells a hand's back from its palm: nails that stand out, some painted, and a palm of its own tone."""
    count = len(skin)
    painted = rng.random((count, 1)) < table.painted
    natural = skin * uniform((0.75, 1.3), 1) * (1 + rng.normal(0, 0.04, (count, 3)) + np.array([0.06, 0.0, 0.03]))
    put("nail", np.minimum(np.where(painted, rng.uniform(0.02, 0.9, (count, 3)) ** 2, natural), 0.95))
    shown = np.where(painted, 1.0, uniform(table.nails, 1))
    put("nail_edge", np.concatenate([shown, uniform((0.1, 0.6), 1), uniform((1.5, 8.0), 1)], axis=1))
    put("palm", uniform(table.palm, 1) + rng.normal(0, 0.02, (count, 3)) + np.array([0.03, -0.01, 0.0]))


def _colours(count: int, rng: np.random.Generator) -> Floats:
    """(B, 3) linear, such as clothes and things have: most are muted."""
    level, strength = rng.uniform(0.03, 0.9, (count, 1)), rng.choice([0.15, 0.4, 1.0], (count, 1), p=[0.5, 0.3, 0.2])
    return np.clip(level * (1 + strength * rng.uniform(-1, 1, (count, 3))), 0.02, 0.95) ** 2.2


def _sample_lights(table: Table, put: Any, uniform: Any, rng: np.random.Generator) -> None:
    """One to three lamps in front of or beside the hands, mostly from above, and light from all around."""
    directions = rng.normal(size=(len(uniform((0, 1))), 3, 3))
    directions[..., 2] = -np.abs(directions[..., 2]) - 0.3  # from the camera's side
    directions[:, 0, 1] -= 0.7  # up
    put("lights", directions / np.linalg.norm(directions, axis=-1, keepdims=True))
    warmth = rng.normal(0, table.warmth, (len(directions), 3, 1)) * np.array([1.0, 0.0, -1.2])
    colours = uniform((0.25, 1.0), 3, 1) * np.clip(1 + warmth, 0.4, 1.6)
    colours[:, 0] *= 1.5  # the one that casts the shadow leads
    colours *= (np.arange(3) < rng.integers(1, 4, (len(directions), 1)))[..., None]
    put("colours", colours * (uniform(table.lamps, 1, 1) / colours.sum(axis=1).mean(axis=-1)[:, None, None]))
    put("ambient", uniform(table.ambient, 1) * (1 + rng.normal(0, 0.06, (len(directions), 3))))


def _canvas_places(sizes: Floats, rng: np.random.Generator) -> Floats:
    """(B, 6) drawn pixels -> canvas pixels: turned a little, some mirrored, from afar and from near."""
    count = len(sizes)
    zoom = np.exp(rng.uniform(np.log(0.5), np.log(1.7), count))
    turn = rng.normal(0, 0.2, count)
    flip = rng.choice([-1.0, 1.0], count)
    cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
    linear = np.stack([cos * flip, -sin, sin * flip, cos], axis=1).reshape(count, 2, 2)
    middle = rng.uniform(0.25, 0.75, (count, 2)) * CANVAS_PX
    offset = middle - (linear @ (sizes / 2)[..., None])[..., 0]
    return np.concatenate([linear, offset[..., None]], axis=2).reshape(count, 6)


def _oval_matrices(sizes: Floats, radii: Range, rng: np.random.Generator) -> Floats:
    """(B, 4) pixels from an oval's centre -> the unit disc; radii are shares of the picture's longer side."""
    count = len(sizes)
    radius = rng.uniform(*radii, (count, 2)) * sizes.max(axis=1, keepdims=True)
    turn = rng.uniform(0, np.pi, count)
    rows = np.stack([np.cos(turn), np.sin(turn), -np.sin(turn), np.cos(turn)], axis=1).reshape(count, 2, 2)
    return (rows / radius[..., None]).reshape(count, 4)


def _sample_shapes(table: Table, sizes: Floats, skin: Floats, place: Floats, rng: np.random.Generator) -> Floats:
    """Ovals and limbs of about the person's own skin, behind the hands."""
    count = len(sizes)
    shapes = np.zeros((count, SHAPES, SHAPE_SIZE))
    for k in range(SHAPES):
        there = (place < table.bodies) & ((rng.random(count) < 0.6) | (k == 0))
        shapes[:, k, :2] = rng.uniform(-0.1, 1.1, (count, 2)) * sizes
        shapes[:, k, 2:6] = _oval_matrices(sizes, (0.03, 0.30), rng)
        shapes[:, k, 6] = there * np.exp(rng.uniform(np.log(1.5), np.log(40), count))
        shapes[:, k, 7:10] = skin * rng.uniform(0.15, 0.9, (count, 1)) * rng.uniform(0.85, 1.15, (count, 3))
        shapes[:, k, 10:] = rng.uniform(-0.5, 0.5, (count, 2))
    return shapes


def _sample_camera(table: Table, put: Any, uniform: Any, rng: np.random.Generator) -> None:
    """Most are fair; some blur, move, are noisy, gray or off in colour."""
    count = len(uniform((0, 1)))
    moving, angle = rng.random(count) < table.moving, uniform((0, 2 * np.pi))
    length = moving * uniform(table.motion_px)
    put("motion", np.stack([length * np.cos(angle), length * np.sin(angle)], axis=1))
    sigma = uniform(table.blur_px, 1)
    weights = np.exp(-0.5 * (np.arange(3) / sigma) ** 2)
    weights /= weights[:, :1] + 2 * weights[:, 1:].sum(axis=1, keepdims=True)
    put("blur", np.where(rng.random((count, 1)) < table.blurred, weights, [1, 0, 0]))
    put("saturation", uniform(table.saturation))
    cast = rng.normal(0, np.where(rng.random((count, 1)) < 0.75, 0.04, 0.11), (count, 3))
    put("gains", uniform(table.gain, 1) * (1 + np.clip(cast, -0.25, 0.25)))
    noisy = np.where(rng.random(count) < table.noisy, uniform(table.noise), uniform((0.002, table.noise[0])))
    put("noise", np.stack([noisy * 0.5, noisy * 0.8], axis=1))
    put("noise_at", rng.integers(NOISE_PX, size=(count, 2)))
    put("gray", rng.random(count) < table.gray)
    put("shown_gain", np.ones((count, 3)))
    light = np.linspace(0, 1, CURVE) ** 2  # the curve's steps are of the light's root
    shown = light ** (1 / uniform(table.gamma, 1))
    contrast = uniform(table.contrast, 1)
    put("curve", (1 - contrast) * shown + contrast * shown * shown * (3 - 2 * shown))
