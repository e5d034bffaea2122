from __future__ import annotations

import numpy as np
import pytest

from training.data.synthhands.arrays import Floats, Int32s
from training.data.synthhands.drawing.rasteriser import FAR, empty_buffers, part_coverage, rasterise

NO_BITS = np.empty(0, np.uint8)


def triangle_soup(seed: int, count: int) -> tuple[Floats, Floats, Int32s]:
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(-6, 40, (3 * count, 2))
    depth = rng.uniform(0.5, 2.0, 3 * count)
    return pixels, depth, np.arange(3 * count, dtype=np.int32).reshape(-1, 3)


def brute_force(pixels: Floats, depth: Floats, faces: Int32s, size: int) -> tuple[Floats, Floats]:
    """Nearest front face and depth per pixel, by testing every pixel against every triangle."""
    centres = np.stack(np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5), axis=-1)
    nearest, owner = np.full((size, size), np.inf), np.full((size, size), -1)
    for number, face in enumerate(faces):
        a, b, c = pixels[face]
        matrix = np.stack([b - a, c - a], axis=1)
        if np.linalg.det(matrix) >= 0:
            continue
        w12 = (centres - a) @ np.linalg.inv(matrix).T
        weights = np.concatenate([1 - w12.sum(axis=-1, keepdims=True), w12], axis=-1)
        z = 1 / (weights @ (1 / depth[face]))
        hit = (weights >= 0).all(axis=-1) & (z < nearest)
        nearest[hit], owner[hit] = z[hit], number
    return nearest, owner


@pytest.mark.parametrize("seed", range(4))
def test_rasteriser_equals_brute_force(seed: int) -> None:
    size = 32
    pixels, depth, faces = triangle_soup(seed, 25)
    expected, owner = brute_force(pixels, depth, faces, size)
    buffers = empty_buffers((size, size), weights=True)
    rasterise(pixels, 1 / depth, faces, NO_BITS, False, buffers)
    buffer, face_of, weights = buffers.depth, buffers.face_of, buffers.weights
    assert (face_of == owner).mean() > 0.999
    same = (face_of == owner) & (owner >= 0)
    assert same.sum() > 200
    np.testing.assert_allclose(buffer[same], expected[same], rtol=1e-5)
    # The weights give the depth back, being correct in perspective.
    w1, w2 = weights[same].T
    corners = depth[faces[owner[same]]]
    np.testing.assert_allclose(
        (1 - w1 - w2) * corners[:, 0] + w1 * corners[:, 1] + w2 * corners[:, 2], expected[same], rtol=1e-4
    )


def test_shared_edges_leave_no_holes() -> None:
    steps = np.linspace(0, 30, 16)
    x, y = np.meshgrid(steps, steps)
    rng = np.random.default_rng(5)
    pixels = np.stack([x, y], axis=-1) + np.pad(rng.uniform(-0.6, 0.6, (14, 14, 2)), ((1, 1), (1, 1), (0, 0)))
    corner = (np.arange(15)[:, None] * 16 + np.arange(15)).reshape(-1)
    faces = np.concatenate(
        [np.stack([corner, corner + 16, corner + 1], axis=1), np.stack([corner + 1, corner + 16, corner + 17], axis=1)]
    )
    buffers = empty_buffers((30, 30))
    rasterise(pixels.reshape(-1, 2), np.ones(256), faces.astype(np.int32), NO_BITS, False, buffers)
    assert (buffers.face_of >= 0).all() and (buffers.depth == 1).all()
    empty = empty_buffers((30, 30))
    rasterise(pixels.reshape(-1, 2), np.ones(256), faces[:, ::-1].astype(np.int32), NO_BITS, False, empty)
    assert (empty.face_of < 0).all() and (empty.depth == FAR).all()  # seen from behind
    rasterise(pixels.reshape(-1, 2), np.ones(256), faces[:, ::-1].astype(np.int32), NO_BITS, True, empty)
    assert (empty.face_of >= 0).all()


def test_coverage_counts_what_is_behind() -> None:
    pixels = np.array([(0, 0), (0, 20), (20, 0)] * 2, float)
    depth = np.array([1.0, 1, 1, 2, 2, 2])
    faces = np.arange(6, dtype=np.int32).reshape(2, 3)
    front, covered = part_coverage(pixels, depth, faces, np.array([1, 2], np.uint8), (30, 20))
    assert front.shape == covered.shape == (20, 30)
    inside = front > 0
    assert 180 < inside.sum() < 220
    assert (front[inside] == 1).all() and (covered[inside] == 0b110).all() and (covered[~inside] == 0).all()
