from __future__ import annotations

import numpy as np
import pytest

from training.data.synthhands.drawing.meshes import RIGHT_HAND
from training.data.synthhands.drawing.rasteriser import part_coverage
from training.data.synthhands.drawing.shading import lit_share, openness, shadow_map
from training.data.synthhands.frame import Frame, Studio, draw_frame, make_frame, person_of


def test_a_surface_shades_what_is_behind_it() -> None:
    square = np.array([(-1, -1, 0), (-1, 1, 0), (1, -1, 0), (1, 1, 0)], float)
    vertices = np.concatenate([0.02 * square + [0, 0, 1.0], 0.1 * square + [0, 0, 1.1]])
    faces = np.array([(0, 1, 2), (2, 1, 3), (4, 5, 6), (6, 5, 7)], np.int32)
    shadow = shadow_map(vertices, faces, np.array([0.0, 0.0, -1.0]))
    points = [(0, 0, 1.0), (0, 0, 1.1), (0.08, 0.08, 1.1)]
    assert [float(lit_share(shadow, *map(np.float32, point))) for point in points] == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(("z", "low", "high"), [(0.015, 0.0, 0.9), (-0.015, 1.0, 1.0)])
def test_openness_is_lower_next_to_a_sphere(z: float, low: float, high: float) -> None:
    found = np.empty(1, np.float32)
    openness(np.zeros((1, 3)), np.array([[0.0, 0.0, 1.0]]), np.array([[0.0, 0.0, z]]), np.array([0.01]), found)
    assert low <= found[0] <= high


def test_pixels_of_a_hand_are_those_of_its_mesh(studio: Studio) -> None:
    """The drawn mask, against the annotated mesh projected triangle by triangle."""
    frame: Frame = make_frame(studio, 7, 2)  # one right hand
    picture = next(draw_frame(studio, frame, person_of(frame)))
    camera, hand = picture.view.camera, frame.scene.hands[0]
    seen = camera.see(hand.vertices)
    faces = studio.models[0].faces.astype(np.int32)
    parts = np.full(len(faces), RIGHT_HAND, np.uint8)
    front, _ = part_coverage(camera.pinhole.project(seen), seen[:, 2], faces, parts, camera.pinhole.size_px)
    drawn = picture.labels == RIGHT_HAND
    both = (drawn & (front == RIGHT_HAND)).sum()
    assert both / (drawn | (front == RIGHT_HAND)).sum() > 0.93  # the drawn mesh is smoothed, and has an arm
    rows, columns = np.nonzero(drawn)
    low, high = camera.pinhole.project(seen).min(axis=0), camera.pinhole.project(seen).max(axis=0)
    assert columns.min() >= low[0] - 2 and columns.max() <= high[0] + 2
    assert rows.min() >= low[1] - 2 and rows.max() <= high[1] + 2
