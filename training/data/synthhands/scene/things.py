"""What hands hold: boxes, sticks and balls, between thumb and fingers."""

from __future__ import annotations

import itertools

import numpy as np

from training.data.synthhands.arrays import Floats, Ints
from training.data.synthhands.scene.posable import JOINTS_TO_MANO, across, unit

_GRID = {"box": 0.88, "stick": 0.414, "ball": 0.4}  # where the edges' neighbours lie, of a cube from -1 to 1
_CELLS = [cell for cell in itertools.product(range(4), repeat=3) if not {0, 3}.isdisjoint(cell)]
THING_VERTICES = len(_CELLS)


def thing_faces() -> Ints:
    """(F, 3) of a cube whose sides are cut into 3 x 3, counter-clockwise from outside."""
    number = {cell: index for index, cell in enumerate(_CELLS)}
    faces = []
    for axis, end, i, j in itertools.product(range(3), (0, 3), range(3), range(3)):
        corners = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)]
        cells = [tuple(np.insert(corner, axis, end).tolist()) for corner in corners]
        turn = 1 if (end == 3) == (axis != 1) else -1
        a, b, c, d = (number[cell] for cell in cells[::turn])
        faces += [(a, b, c), (a, c, d)]
    return np.array(faces)


def sample_thing(joints: Floats, rng: np.random.Generator) -> Floats:
    """Vertices (THING_VERTICES, 3) of something in the hand whose joints (21, 3) these are, project's order."""
    mano = joints[JOINTS_TO_MANO]
    tips = mano[[16, 17]].mean(axis=0)
    reach = tips - mano[20]
    thick = unit(reach)
    long = across(mano[1] - mano[7], thick)  # pinky's knuckle -> index's
    spin = rng.uniform(-0.7, 0.7)
    third = np.cross(thick, long)
    long, third = np.cos(spin) * long + np.sin(spin) * third, np.cos(spin) * third - np.sin(spin) * long
    half_gap = float(np.clip(np.sqrt(reach @ reach) / 2 - 0.004, 0.003, 0.035))
    kind = str(rng.choice(list(_GRID), p=[0.45, 0.4, 0.15]))
    inner = _GRID[kind]
    cube = np.array([-1.0, -inner, inner, 1.0])[np.array(_CELLS)]
    if kind == "box":
        half = np.array([half_gap, rng.uniform(0.02, 0.09), rng.uniform(0.02, 0.07)])
    elif kind == "stick":
        flat = cube[:, ::2]  # around the long axis
        cube[:, ::2] = flat / np.linalg.norm(flat, axis=1, keepdims=True) * np.abs(flat).max(axis=1, keepdims=True)
        half = np.array([min(half_gap, 0.02), rng.uniform(0.06, 0.16), min(half_gap, 0.02)])
    else:
        cube = cube / np.linalg.norm(cube, axis=1, keepdims=True)
        half = np.full(3, max(half_gap, 0.012))
    centre = (tips + mano[20]) / 2 + long * half[1] * rng.uniform(-0.5, 0.5) * (kind != "ball")
    return np.asarray(centre + (cube * half) @ np.stack([thick, long, third]))
