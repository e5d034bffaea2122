from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from training.data.synthhands.drawing.meshes import (
    LEFT_ARM,
    LEFT_HAND,
    RIGHT_ARM,
    RIGHT_HAND,
    loop_subdivision,
    vertex_normals,
)
from training.data.synthhands.frame import Frame, Studio


def open_edges(faces: NDArray[np.integer[Any]]) -> int:
    edges = Counter(tuple(sorted((int(f[i]), int(f[(i + 1) % 3])))) for f in faces for i in range(3))
    assert max(edges.values()) == 2
    return sum(count == 1 for count in edges.values())


def test_subdivision_keeps_planes_and_borders() -> None:
    # A square of four triangles around a middle vertex.
    vertices = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0.5, 0.5, 0)], float)
    faces = np.array([(0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4)])
    matrix, finer = loop_subdivision(len(vertices), faces)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    smooth = matrix @ vertices
    assert len(finer) == 16 and smooth.shape == (13, 3)
    np.testing.assert_allclose(smooth[4], vertices[4])  # symmetric, so it stays
    np.testing.assert_allclose(smooth[0], 3 / 4 * vertices[0] + vertices[1] / 8 + vertices[3] / 8)
    areas = np.cross(smooth[finer[:, 1]] - smooth[finer[:, 0]], smooth[finer[:, 2]] - smooth[finer[:, 0]])[:, 2]
    assert (areas > 0).all()
    assert open_edges(finer) == 8


@pytest.mark.parametrize("side", [0, 1])
def test_drawn_mesh_is_one_smooth_piece(studio: Studio, side: int) -> None:
    mesh = studio.meshes[side]
    assert open_edges(mesh.coarse_faces) == len(mesh.loop)  # only the arm's far end is open
    assert open_edges(mesh.faces) == 2 * len(mesh.loop)
    assert set(mesh.parts.tolist()) == ({LEFT_HAND, LEFT_ARM} if side else {RIGHT_HAND, RIGHT_ARM})
    assert len(mesh.parts) == len(mesh.faces)
    assert mesh.subdivision.shape[0] == mesh.faces.max() + 1 == len(mesh.material.palm)


def test_normals_look_outwards(studio: Studio, frames: list[Frame]) -> None:
    for frame in frames[:6]:
        for hand in frame.scene.hands:
            mesh = studio.meshes[hand.side]
            coarse = mesh.coarse(hand.vertices, hand.arm)
            first_ring = coarse[len(hand.vertices) : len(hand.vertices) + len(mesh.loop)]
            assert np.linalg.norm(first_ring - hand.vertices[mesh.loop], axis=1).max() < 0.025  # the arm goes on
            vertices = mesh.subdivision @ coarse
            normals = vertex_normals(vertices, mesh.faces)
            # Signed volume by the divergence theorem is positive for outward faces.
            a, b, c = (vertices[mesh.faces[:, i]] - hand.joints[9] for i in range(3))
            assert (a * np.cross(b, c)).sum() > 0
            on_arm = mesh.material.arm_m > 0.1
            nearest = np.abs(vertices[on_arm, None] - hand.arm.centres).sum(axis=2).argmin(axis=1)
            outwards = ((vertices[on_arm] - hand.arm.centres[nearest]) * normals[on_arm]).sum(axis=1)
            assert (outwards > 0).mean() > 0.97
