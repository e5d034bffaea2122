from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from training.data.synthhands.drawing.meshes import coarse_vertices, loop_subdivision
from training.data.synthhands.drawing.paint import ARM
from training.data.synthhands.frame import Frame, Studio
from training.data.synthhands.scene.posable import vertex_normals, wrist_loop
from training.data.synthhands.scene.things import thing_faces


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


def test_drawn_hands_are_smooth_pieces_and_things_are_closed(studio: Studio) -> None:
    mesh = studio.renderer.mesh
    assert [set(mesh.parts[mesh.owners == owner].tolist()) for owner in range(4)] == [{1, 3}, {2, 4}, {5}, {6}]
    for side, model in enumerate(studio.models):  # only the arm's far end is open
        assert open_edges(mesh.faces[mesh.owners == side]) == 2 * len(wrist_loop(model))
    assert open_edges(thing_faces()) == 0
    assert len(mesh.starts) == len(mesh.material) + 1 == mesh.faces.max() + 2


def test_normals_look_outwards(studio: Studio, frames: list[Frame]) -> None:
    mesh = studio.renderer.mesh
    matrix = scipy.sparse.csr_matrix((mesh.weights, mesh.columns, mesh.starts))
    held = [frame for frame in frames if any(hand.thing is not None for hand in frame.scene.hands)]
    assert held
    for frame in frames[:8] + held[:2]:
        coarse, shown = coarse_vertices(frame.scene, studio.models)
        assert shown[:2].sum() == len(frame.scene.hands)
        vertices = matrix @ coarse.astype(float)
        normals = vertex_normals(vertices, mesh.faces)
        for owner in np.flatnonzero(shown):
            faces = mesh.faces[mesh.owners == owner]
            # Signed volume by the divergence theorem is positive for outward faces.
            a, b, c = (vertices[faces[:, i]] - vertices[faces[0, 0]] for i in range(3))
            assert (a * np.cross(b, c)).sum() > 0
        for hand in frame.scene.hands:
            on_side = np.isin(np.arange(len(vertices)), mesh.faces[mesh.owners == hand.side])
            on_arm = on_side & (mesh.material[:, ARM] > 0.1)
            nearest = np.abs(vertices[on_arm, None] - hand.arm.centres).sum(axis=2).argmin(axis=1)
            outwards = ((vertices[on_arm] - hand.arm.centres[nearest]) * normals[on_arm]).sum(axis=1)
            assert (outwards > 0).mean() > 0.97
