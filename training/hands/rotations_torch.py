"""Rotations in torch, batched and differentiable; the numpy counterparts are in `runtime.hand.rotations`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

# Below this length a direction is unreliable: its gradient stays bounded by 1 / EPSILON, also in half precision.
EPSILON = 1e-4


def matrix_from_6d(rotation6d: Tensor) -> Tensor:
    """(..., 6), the first two columns one after the other -> (..., 3, 3), by Gram-Schmidt.

    Finite with bounded gradients everywhere; a rotation wherever the columns are longer than EPSILON and not parallel.
    """
    first = functional.normalize(rotation6d[..., 0:3], dim=-1, eps=EPSILON)
    # Normalised before the projection: the test for parallel columns must not depend on the second one's length.
    second = functional.normalize(rotation6d[..., 3:6], dim=-1, eps=EPSILON)
    second = second - (first * second).sum(dim=-1, keepdim=True) * first
    second = functional.normalize(second, dim=-1, eps=EPSILON)
    third = torch.linalg.cross(first, second, dim=-1)
    return torch.stack([first, second, third], dim=-1)
