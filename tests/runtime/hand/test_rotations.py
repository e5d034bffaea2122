"""Rotations in numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from runtime.hand.rotations import axis_angle_from_matrix, matrix_from_6d, matrix_from_axis_angle

VECTORS = arrays(np.float64, (3, 3), elements=st.floats(-3, 3, allow_subnormal=False))
SIXES = arrays(np.float64, (2, 6), elements=st.floats(-1e3, 1e3))


@settings(deadline=None)  # the first one imports scipy
@given(VECTORS)
def test_axis_angle_agrees_with_scipy(vectors: np.ndarray) -> None:
    transform = pytest.importorskip("scipy.spatial.transform", reason="not on every machine the runtime is tested on")
    expected = transform.Rotation.from_rotvec(vectors).as_matrix()
    assert np.allclose(matrix_from_axis_angle(vectors), expected, atol=1e-9)


@given(VECTORS)
def test_there_and_back(vectors: np.ndarray) -> None:
    matrices = matrix_from_axis_angle(vectors)
    assert np.allclose(matrix_from_axis_angle(axis_angle_from_matrix(matrices)), matrices, atol=1e-6)


@given(SIXES)
def test_6d_is_always_a_rotation(sixes: np.ndarray) -> None:
    matrices = matrix_from_6d(sixes)
    assert np.allclose(matrices @ np.swapaxes(matrices, -1, -2), np.eye(3), atol=1e-6)
    assert np.allclose(np.linalg.det(matrices), 1, atol=1e-6)


@given(VECTORS, st.floats(0.1, 10))
def test_6d_of_a_rotation_is_that_rotation(vectors: np.ndarray, length: float) -> None:
    matrices = matrix_from_axis_angle(vectors)
    sixes = np.concatenate([matrices[..., 0] * length, matrices[..., 1]], axis=-1)
    assert np.allclose(matrix_from_6d(sixes), matrices, atol=1e-6)
