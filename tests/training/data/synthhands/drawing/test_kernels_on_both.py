"""The kernels against brute force on the CPU, and on a GPU (numba's simulator) against the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from training.data.synthhands import kernels
from training.data.synthhands.arrays import Floats
from training.data.synthhands.drawing import raster
from training.data.synthhands.drawing.canvas import CANVAS_PX
from training.data.synthhands.drawing.layout import COLUMNS
from training.data.synthhands.drawing.looks import sample_looks
from training.data.synthhands.drawing.meshes import join_mesh
from training.data.synthhands.drawing.paint import ARM, MATERIAL_SIZE, lit_share
from training.data.synthhands.drawing.renderer import Renderer, Seen, shadow_transforms
from training.data.synthhands.kernels import CPU, Device
from training.data.synthhands.table import V2

PROJECT = Path(kernels.__file__).parents[3]


def mesh_of(faces: Any, vertices: int) -> raster.Mesh:
    """Faces as they are, without subdivision; on the hand, but the last few, on a thing."""
    parts = np.ones(len(faces), np.uint8)
    parts[-2:] = 5
    material = np.random.default_rng(0).uniform(0, 0.02, (vertices, MATERIAL_SIZE)).astype(np.float32)
    identity = scipy.sparse.identity(vertices, format="csr")
    return join_mesh(identity, np.asarray(faces), parts, np.zeros(len(faces), np.uint8), material)


@pytest.mark.parametrize("seed", range(4))
def test_rasteriser_equals_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size, count = 32, 25
    corners, depth = rng.uniform(-6, 40, (3 * count, 2)), rng.uniform(0.5, 2.0, 3 * count)
    faces = np.arange(3 * count).reshape(-1, 3)
    centres = np.stack(np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5), axis=-1)
    nearest, owner = np.full((size, size), np.inf), np.full((size, size), -1)
    for number, face in enumerate(faces):
        a, b, c = corners[face]
        matrix = np.stack([b - a, c - a], axis=1)
        if np.linalg.det(matrix) >= 0:
            continue
        w12 = (centres - a) @ np.linalg.inv(matrix).T
        weights = np.concatenate([1 - w12.sum(axis=-1, keepdims=True), w12], axis=-1)
        z = 1 / (weights @ (1 / depth[face]))
        hit = (weights >= 0).all(axis=-1) & (z < nearest)
        nearest[hit], owner[hit] = z[hit], number
    keys = np.full((1, size, size), raster.NOTHING)
    pixels = np.concatenate([corners, 1 / depth[:, None]], axis=1, dtype=np.float32)[None]
    shown = np.ones((1, 1), np.uint8)
    CPU.launch(raster.rasterise, count, mesh_of(faces, 3 * count), shown, pixels, keys)
    found = np.where(keys[0] == raster.NOTHING, -1, keys[0] & 0xFFFFFFFF)
    assert (found == owner).mean() > 0.998 and (owner >= 0).sum() > 200
    same = (found == owner) & (owner >= 0)
    np.testing.assert_allclose([raster.depth_of(key) for key in keys[0][same]], nearest[same], rtol=1e-5)


def test_shared_edges_leave_no_holes() -> None:
    x, y = np.meshgrid(np.linspace(0, 30, 16), np.linspace(0, 30, 16))
    jitter = np.pad(np.random.default_rng(5).uniform(-0.6, 0.6, (14, 14, 2)), ((1, 1), (1, 1), (0, 0)))
    pixels = np.concatenate([np.stack([x, y], axis=-1) + jitter, np.ones((16, 16, 1))], axis=2, dtype=np.float32)
    corner = (np.arange(15)[:, None] * 16 + np.arange(15)).reshape(-1, 1)
    faces = np.concatenate([corner + np.array(ways) for ways in ((0, 16, 1), (1, 16, 17))])
    for turned, covered in ((faces, True), (faces[:, ::-1], False)):  # the latter are seen from behind
        keys = np.full((1, 30, 30), raster.NOTHING)
        mesh = mesh_of(turned, 256)
        CPU.launch(raster.rasterise, len(faces), mesh, np.ones((1, 1), np.uint8), pixels.reshape(1, -1, 3), keys)
        assert (keys < raster.NOTHING).all() if covered else (keys == raster.NOTHING).all()


def test_a_surface_shades_what_is_behind_it() -> None:
    square = np.array([(-1, -1, 0), (-1, 1, 0), (1, -1, 0), (1, 1, 0)], float)
    vertices = np.concatenate([0.02 * square + [0, 0, 1.0], 0.1 * square + [0, 0, 1.1]]).astype(np.float32)
    mesh = mesh_of([(0, 1, 2), (2, 1, 3), (4, 5, 6), (6, 5, 7)], 8)
    spheres = np.array([[(0, 0, 1.05, 0.12)]], np.float32)
    to_light = shadow_transforms(spheres, np.array([[0.0, 0.0, -1.0]]))
    depths = np.full((1, 64, 64), raster.FAR)
    to_light[:, :2] /= 4  # the map is a quarter as large
    CPU.launch(raster.cast_shadows, 4, mesh, np.ones((1, 1), np.uint8), vertices[None], to_light, depths)
    points = [(0, 0, 1.0), (0, 0, 1.1), (0.08, 0.08, 1.1)]
    assert [float(lit_share(depths[0], to_light[0], *map(np.float32, p))) for p in points] == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(("z", "low", "high"), [(0.985, 0.0, 0.95), (1.015, 1.0, 1.0)])
def test_openness_is_lower_next_to_a_sphere(z: float, low: float, high: float) -> None:
    vertices = np.array([[(-0.01, -0.01, 1), (-0.01, 0.01, 1), (0.01, 0, 1)]], np.float32)
    normals, spheres = np.empty((1, 3, 4), np.float32), np.array([[(0, 0, z, 0.01)]], np.float32)
    CPU.launch(raster.find_normals, 3, mesh_of([(0, 1, 2)], 3), vertices, spheres, normals)
    np.testing.assert_allclose(normals[0, :, :3], [[0, 0, -1]] * 3, atol=1e-6)
    assert (normals[0, :, 3] >= low).all() and (normals[0, :, 3] <= high).all()


def draw_tiny(launch: Any) -> tuple[Any, Any, Any]:
    """Two pictures of an octahedron and a square, with all that kernels do; their light, and the keys."""
    eight = [(0, 2, 4), (2, 1, 4), (1, 3, 4), (3, 0, 4), (2, 0, 5), (1, 2, 5), (3, 1, 5), (0, 3, 5)]
    points = np.array([(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)], float)
    square = np.array([(-3, -3, 2), (-3, 3, 2), (3, -3, 2), (3, 3, 2)], float)
    mesh = mesh_of([*eight, (6, 7, 8), (8, 7, 9)], 10)
    mesh.material[6:, ARM] = 0.1
    coarse = np.tile(0.05 * np.concatenate([points, square]), (2, 1, 1)).astype(np.float32)
    sizes, rng = np.array([(14.0, 12.0), (12.0, 10.0)]), np.random.default_rng(3)
    traits: dict[str, Floats] = {name: np.array([0.0, 1.0]) for name in ("adorned", "bodies", "covered")}
    looks = sample_looks(V2, sizes, np.full((2, 2), 10.0), traits, rng)
    looks[1, COLUMNS["motion"]], looks[0, COLUMNS["blur"]] = (3, 0), (0.4, 0.25, 0.05)
    camera = np.tile(np.eye(3), (2, 1, 1)), np.array([[0, 0, -1.0]] * 2)
    spheres, shown = np.array([[(0, 0, 0, 0.15)]] * 2, np.float32), np.ones((2, 1), np.uint8)
    seen = Seen(coarse, shown, spheres, np.array([True]), *camera, np.tile(60 * np.eye(2), (2, 1, 1)), sizes / 2)
    canvases = rng.integers(0, 256, (1, CANVAS_PX, CANVAS_PX, 3)).astype(np.uint8)
    textures = rng.normal(0, 0.1, (1, 2, 60, 150)).astype(np.float32)
    return Renderer(mesh, Device(launch, np.zeros, np.asarray)).draw(seen, looks, textures, canvases, (14, 12))


IN_SIMULATOR = """
import sys, numpy
from training.data.synthhands import gpu
from tests.training.data.synthhands.drawing.test_kernels_on_both import draw_tiny
gpu.BLOCK = 1  # one after the other
numpy.savez(sys.argv[1], *draw_tiny(gpu.launch_on_gpu))
"""


def test_a_gpu_draws_what_the_cpu_draws(tmp_path: Path) -> None:
    simulated = {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-W", "ignore", "-c", IN_SIMULATOR, str(tmp_path / "drawn.npz")]
    subprocess.run(command, check=True, cwd=PROJECT, env=os.environ | simulated)
    picture, light, keys = draw_tiny(CPU.launch)
    with np.load(tmp_path / "drawn.npz") as there:
        np.testing.assert_allclose(there["arr_1"], light, atol=1e-4)
        assert np.abs(there["arr_0"].astype(int) - picture).max() <= 1
        assert (there["arr_2"] != keys).mean() < 0.01
    assert set((keys & 0xFFFFFFFF).ravel()) == {4, 5, 6, 7, 8, 9} and picture.std() > 20
