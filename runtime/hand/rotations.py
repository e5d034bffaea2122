"""Rotations as matrices, axis-angle vectors and 6D, batched over any leading axes.

6D is the first two columns of the matrix, one after the other (Zhou et al., "On the Continuity of Rotation
Representations in Neural Networks", CVPR 2019). Results have the float type of the input (integers become float64).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.floating[Any]]

# Shorter than this, a 6D column no longer says a direction.
_MIN_LENGTH = 1e-6
_FAR_FROM_PARALLEL = 0.5  # sine of the angle between two columns
# The cross product's three minuends and subtrahends: np.cross takes longer than all the rest of `matrix_from_6d`.
_CROSS_FIRST, _CROSS_SECOND = np.array([1, 2, 0, 2, 0, 1]), np.array([2, 0, 1, 1, 2, 0])


def _as_float(values: ArrayLike) -> FloatArray:
    array = np.asarray(values)
    return array if np.issubdtype(array.dtype, np.floating) else array.astype(np.float64)


def _length(vectors: FloatArray) -> FloatArray:
    """(..., 3) -> (..., 1); as np.linalg.norm, without its overhead."""
    total: FloatArray = np.add.reduce(vectors * vectors, axis=-1, keepdims=True)
    return np.sqrt(total)


def _without(vectors: FloatArray, direction: FloatArray) -> FloatArray:
    """What of the vectors (..., 3) is at right angles to unit vectors."""
    along: FloatArray = np.add.reduce(direction * vectors, axis=-1, keepdims=True)
    return vectors - along * direction


def _normalised(vectors: FloatArray, fallback: Callable[[], FloatArray]) -> FloatArray:
    """Unit vectors; the fallback's where one is too short."""
    length = _length(vectors)
    usable = length > _MIN_LENGTH
    if usable.all():
        return vectors / length
    return np.where(usable, vectors / np.where(usable, length, 1), fallback())


def matrix_from_6d(rotation6d: ArrayLike) -> FloatArray:
    """(..., 6) -> (..., 3, 3). Always a proper rotation: zero or parallel columns have a fallback."""
    numbers = _as_float(rotation6d)
    batch, dtype = numbers.shape[:-1], numbers.dtype
    columns = _normalised(numbers.reshape(*batch, 2, 3), lambda: np.array([[1, 0, 0], [0, 0, 0]], dtype))
    first = columns[..., 0, :]

    def spare() -> FloatArray:
        # The axis least along `first` is never parallel to it.
        across = _without(np.eye(3, dtype=dtype)[np.argmin(np.abs(first), axis=-1)], first)
        return across / _length(across)

    second = _without(columns[..., 1, :], first)
    length = _length(second)
    if length.min(initial=1) > _FAR_FROM_PARALLEL:
        second = second / length
    else:
        # A nearly parallel second column loses digits in the first subtraction; another one gives them back.
        second = _without(_normalised(second, spare), first)
        second = second / _length(second)
    matrix = np.empty((*batch, 3, 3), dtype)
    matrix[..., 0] = first
    matrix[..., 1] = second
    products = first.take(_CROSS_FIRST, axis=-1) * matrix[..., 1].take(_CROSS_SECOND, axis=-1)
    matrix[..., 2] = products[..., :3] - products[..., 3:]
    return matrix


def matrix_from_axis_angle(axis_angle: ArrayLike) -> FloatArray:
    """(..., 3) rotation vectors, radians -> (..., 3, 3), by Rodrigues' formula; exact at and near zero."""
    vectors = _as_float(axis_angle)
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    zero = np.zeros_like(x)
    skew = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*vectors.shape[:-1], 3, 3)
    sine = np.sinc(angle / np.pi)  # sin(t) / t
    versine = np.sinc(angle / (2 * np.pi)) ** 2 / 2  # (1 - cos(t)) / t^2
    matrix: FloatArray = np.eye(3) + sine * skew + versine * (skew @ skew)
    return matrix.astype(vectors.dtype, copy=False)


def _quaternion_from_matrix(matrix: FloatArray) -> FloatArray:
    """(..., 3, 3) -> (..., 4), w first, unit length, w >= 0."""
    m00, m11, m22 = matrix[..., 0, 0], matrix[..., 1, 1], matrix[..., 2, 2]
    odd, even = matrix - np.swapaxes(matrix, -1, -2), matrix + np.swapaxes(matrix, -1, -2)
    x, y, z = odd[..., 2, 1], odd[..., 0, 2], odd[..., 1, 0]
    xy, xz, yz = even[..., 0, 1], even[..., 0, 2], even[..., 1, 2]
    # Row i is the quaternion times 4 q_i; the longest row is the one without cancellation.
    ww, xx, yy, zz = 1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22
    numbers = [ww, x, y, z, x, xx, xy, xz, y, xy, yy, yz, z, xz, yz, zz]
    rows = np.stack(numbers, axis=-1).reshape(*m00.shape, 4, 4)
    best = np.argmax(np.diagonal(rows, axis1=-2, axis2=-1), axis=-1)
    quaternion = np.take_along_axis(rows, best[..., None, None], axis=-2)[..., 0, :]
    quaternion = quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)
    return np.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def axis_angle_from_matrix(matrix: ArrayLike) -> FloatArray:
    """(..., 3, 3) -> (..., 3) rotation vectors of at most pi radians; stable at zero and at pi."""
    rotations = _as_float(matrix)
    quaternion = _quaternion_from_matrix(rotations)
    imaginary = quaternion[..., 1:]
    sine = np.linalg.norm(imaginary, axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quaternion[..., :1])
    tiny = sine < np.finfo(rotations.dtype).tiny
    scale = np.where(tiny, 2, angle / np.where(tiny, 1, sine))
    return (scale * imaginary).astype(rotations.dtype, copy=False)
