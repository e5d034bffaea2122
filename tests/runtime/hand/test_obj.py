"""OBJ files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from runtime import Hands, load
from runtime.hand.obj import write_hands, write_obj


@pytest.fixture(scope="module")
def hands(tiny_model: Path) -> Hands:
    return load(tiny_model)(np.zeros((100, 100, 3), np.uint8))


def read_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    lines = [line.split() for line in path.read_text().splitlines()]
    vertices = np.array([line[1:] for line in lines if line[0] == "v"], float)
    return vertices, np.array([line[1:] for line in lines if line[0] == "f"], int) - 1


def test_a_mesh_comes_back(tmp_path: Path) -> None:
    vertices, faces = np.array([[0, 0, 0], [0.1, 0, -1e-6], [0, 0.25, 0]]), np.array([[0, 1, 2]])
    write_obj(tmp_path / "a.obj", vertices, faces, "two\nlines")
    read = read_obj(tmp_path / "a.obj")
    assert_allclose(read[0], vertices, atol=1e-6)
    assert_array_equal(read[1], faces)
    assert (tmp_path / "a.obj").read_text().startswith("# two lines\nv ")


def test_both_hands_share_a_frame(tmp_path: Path, hands: Hands) -> None:
    right, left = write_hands(tmp_path, "x", hands)
    assert (right.name, left.name) == ("x_right.obj", "x_left.obj")
    assert_allclose(read_obj(right)[0], hands.right.vertices, atol=1e-6)
    assert_allclose(read_obj(left)[0], hands.left.vertices + hands.relative_translation, atol=1e-6)
    assert_array_equal(read_obj(left)[1], hands.left.faces)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_hand_alone(tmp_path: Path, hands: Hands) -> None:
    (left,) = write_hands(tmp_path, "x", replace(hands, right=replace(hands.right, present=False)))
    assert_allclose(read_obj(left)[0], hands.left.vertices, atol=1e-6)
