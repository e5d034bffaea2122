from __future__ import annotations

import numpy as np
import pytest

from training.data.synthhands.drawing import rasteriser as render
from training.data.synthhands.drawing.meshes import LEFT_HAND, RIGHT_HAND
from training.data.synthhands.frame import Frame, Studio, draw_frame, image_record, make_frame, person_of
from training.data.synthhands.scene.posable import Floats


def triangle_soup(seed: int, count: int) -> tuple[Floats, Floats, render.Int32s]:
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(-6, 40, (3 * count, 2))
    depth = rng.uniform(0.5, 2.0, 3 * count)
    return pixels, depth, np.arange(3 * count, dtype=np.int32).reshape(-1, 3)


def brute_force(pixels: Floats, depth: Floats, faces: render.Int32s, size: int) -> tuple[Floats, Floats]:
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
    buffer, face_of = np.empty((size, size), np.float32), np.empty((size, size), np.int32)
    weights = np.empty((size, size, 2), np.float32)
    render.rasterise(pixels, 1 / depth, faces, buffer, face_of, weights)
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
    buffer, face_of = np.empty((30, 30), np.float32), np.empty((30, 30), np.int32)
    render.rasterise(
        pixels.reshape(-1, 2), np.ones(256), faces.astype(np.int32), buffer, face_of, np.empty((30, 30, 2), np.float32)
    )
    assert (face_of >= 0).all()


def test_coverage_counts_what_is_behind() -> None:
    pixels = np.array([(0, 0), (0, 20), (20, 0)] * 2, float)
    depth = np.array([1.0, 1, 1, 2, 2, 2])
    front, covered = np.empty((20, 20), np.uint8), np.empty((20, 20), np.uint8)
    faces = np.arange(6, dtype=np.int32).reshape(2, 3)
    render.part_coverage(pixels, depth, faces, np.array([1, 2], np.uint8), front, covered)
    inside = front > 0
    assert 180 < inside.sum() < 220
    assert (front[inside] == 1).all() and (covered[inside] == 0b110).all() and (covered[~inside] == 0).all()


def test_a_surface_shades_what_is_behind_it() -> None:
    square = np.array([(-1, -1, 0), (-1, 1, 0), (1, -1, 0), (1, 1, 0)], float)
    vertices = np.concatenate([0.02 * square + [0, 0, 1.0], 0.1 * square + [0, 0, 1.1]])
    faces = np.array([(0, 1, 2), (2, 1, 3), (4, 5, 6), (6, 5, 7)], np.int32)
    image, transform = render.shadow_map(vertices, faces, np.array([0.0, 0.0, -1.0]))

    def lit(x: float, y: float, z: float) -> float:
        return float(render._lit(image, transform.astype(np.float32), *(np.float32(v) for v in (x, y, z))))

    assert lit(0, 0, 1.0) == 1.0
    assert lit(0, 0, 1.1) == 0.0
    assert lit(0.08, 0.08, 1.1) == 1.0


def test_openness_is_lower_next_to_a_sphere() -> None:
    points, normals = np.zeros((1, 3)), np.array([[0.0, 0.0, 1.0]])
    radii = np.array([0.01])
    above = render.openness(points, normals, np.array([[0.0, 0.0, 0.015]]), radii)
    below = render.openness(points, normals, np.array([[0.0, 0.0, -0.015]]), radii)
    assert above[0] < 0.9 and below[0] == 1.0


def test_noise_and_gray() -> None:
    linear = np.full((40, 50, 3), 0.3, np.float32)
    curve = np.linspace(0, 1, 4096, dtype=np.float32)
    bank = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    gains = np.array([1.0, 0.8, 1.2], np.float32)
    out = np.empty((40, 50, 3), np.uint8)
    render.develop(linear, gains, curve, bank, (3, 5), (np.float32(0), np.float32(0)), False, out)
    np.testing.assert_allclose(out[0, 0], np.round(255 * np.array([0.36, 0.24, 0.30])), atol=1)  # BGR
    render.develop(linear, gains, curve, bank, (3, 5), (np.float32(0.02), np.float32(0)), True, out)
    assert (out[..., 0] == out[..., 1]).all() and (out[..., 1] == out[..., 2]).all()
    assert 0.5 < out.astype(float).std() < 6


def test_pixels_of_a_hand_are_those_of_its_mesh(studio: Studio) -> None:
    """The drawn mask, against the annotated mesh projected triangle by triangle."""
    frame: Frame = make_frame(studio, 7, 2)  # one right hand
    picture = next(draw_frame(studio, frame, person_of(frame)))
    camera, hand = picture.view.camera, frame.scene.hands[0]
    seen = camera.see(hand.vertices)
    width, height = camera.pinhole.size_px
    front, covered = np.empty((height, width), np.uint8), np.empty((height, width), np.uint8)
    faces = studio.models[0].faces.astype(np.int32)
    parts = np.full(len(faces), RIGHT_HAND, np.uint8)
    render.part_coverage(camera.pinhole.project(seen), seen[:, 2], faces, parts, front, covered)
    drawn = picture.labels == RIGHT_HAND
    both = (drawn & (front == RIGHT_HAND)).sum()
    assert both / (drawn | (front == RIGHT_HAND)).sum() > 0.93  # the drawn mesh is smoothed, and has an arm
    rows, columns = np.nonzero(drawn)
    low, high = camera.pinhole.project(seen).min(axis=0), camera.pinhole.project(seen).max(axis=0)
    assert columns.min() >= low[0] - 2 and columns.max() <= high[0] + 2
    assert rows.min() >= low[1] - 2 and rows.max() <= high[1] + 2


def test_hands_are_not_background_nor_black(studio: Studio) -> None:
    frame = make_frame(studio, 3, 0)
    for picture in draw_frame(studio, frame, person_of(frame)):
        for part in (RIGHT_HAND, LEFT_HAND):
            mask = picture.labels == part
            assert mask.sum() > 300
            assert np.median(picture.linear[mask]) > 0.005
        x, y, width, height = image_record(frame, picture.view, 0)[1]["bbox"]
        inside = picture.labels[int(max(y, 0)) : int(y + height), int(max(x, 0)) : int(x + width)]
        hands = np.isin(picture.labels, (RIGHT_HAND, LEFT_HAND)).sum()
        assert np.isin(inside, (RIGHT_HAND, LEFT_HAND)).sum() > 0.9 * hands
