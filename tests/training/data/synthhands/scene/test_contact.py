from __future__ import annotations

import cv2
import numpy as np
import pytest

from training.data.synthhands.arrays import Floats, Ints
from training.data.synthhands.drawing.meshes import loop_subdivision
from training.data.synthhands.scene.contact import NEAR_M, hidden_share, mesh_gap, slide_to_gap, smallest_gap
from training.data.synthhands.scene.posable import vertex_normals


def ball(radius_m: float) -> tuple[Floats, Ints]:
    """A closed, finely meshed sphere, faces counter-clockwise from outside."""
    vertices = np.array([(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)], float)
    faces = np.array([(0, 2, 4), (2, 1, 4), (1, 3, 4), (3, 0, 4), (2, 0, 5), (1, 2, 5), (3, 1, 5), (0, 3, 5)])
    for _ in range(4):
        matrix, faces = loop_subdivision(len(vertices), faces)
        vertices = matrix @ vertices
        vertices /= np.linalg.norm(vertices, axis=1, keepdims=True)
    return radius_m * vertices, faces


@pytest.mark.parametrize("gap_mm", [-3.0, 0.0, 8.0])
def test_sliding_stops_at_the_first_contact(gap_mm: float) -> None:
    rng = np.random.default_rng(0)
    fixed, moving = rng.normal(0, 0.03, (40, 3)), rng.normal(0, 0.03, (30, 3))
    radii = rng.uniform(0.004, 0.01, 40), rng.uniform(0.004, 0.01, 30)
    direction = np.array([0.6, 0.0, 0.8])
    slide = slide_to_gap(fixed, radii[0], moving, radii[1], direction, gap_mm / 1000)
    for farther in (0.0, 0.001, 0.01, 0.1):
        gap = smallest_gap(fixed, radii[0], moving + (slide + farther) * direction, radii[1])
        assert gap == pytest.approx(gap_mm / 1000, abs=1e-9) if farther == 0 else gap > gap_mm / 1000
    aside = np.array([0.0, 1.0, 0.0])
    assert slide_to_gap(fixed, radii[0], moving + aside, radii[1], direction, gap_mm / 1000) == -np.inf


@pytest.mark.parametrize("gap_mm", [-6.0, -1.0, 0.5, 7.0])
def test_mesh_gap_of_two_balls(gap_mm: float) -> None:
    vertices, faces = ball(0.03)
    rng = np.random.default_rng(1)
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    other = vertices @ cv2.Rodrigues(np.array([0.3, 1.0, -0.5]))[0].T + direction * (0.06 + gap_mm / 1000)
    normals = vertex_normals(vertices, faces)
    assert 1000 * mesh_gap(other, vertices, normals) == pytest.approx(gap_mm, abs=0.3)
    assert mesh_gap(vertices + 1.0, vertices, normals) == NEAR_M


def test_what_stands_before_a_point_hides_it() -> None:
    points = np.array([(0.0, 0, 1), (0.2, 0, 1), (0, 0, 0.3)])
    assert hidden_share(points, np.zeros(3), np.array([[0, 0, 0.5, 0.05]])) == pytest.approx(1 / 3)
