"""How far the hands of two networks lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.backends.contract import Outputs
from runtime.hand.hand_model import HandPair
from runtime.hand.hands import Floats
from runtime.hand.rotations import matrix_from_6d

VERTEX_TOLERANCE_MM = 0.02
PROJECTION_TOLERANCE_PX = 0.05
STEADY_MM = 0.5  # a hand that a quarter of a grey level of noise moves by more is unsteady


@dataclass(frozen=True)
class MeshDistance:
    """Over all crops; nan where an output is no number. Where the first network sees no hand at all, all count."""

    n_images: int
    vertex_mm: float  # any vertex of any hand
    projection_px: float  # any joint of any hand
    present_hand_mm: float  # mean over the vertices of the worst hand that the first network sees
    mean_mm: float  # over vertices and hands that it sees

    @property
    def passed(self) -> bool:
        """Within the tolerances of a float export."""
        return self.vertex_mm <= VERTEX_TOLERANCE_MM and self.projection_px <= PROJECTION_TOLERANCE_PX


def mesh_distance(
    expected: Sequence[Outputs],
    actual: Sequence[Outputs],
    crop_px: int,
    pair: HandPair,
    unsteady: NDArray[np.floating[Any]] | None = None,
) -> MeshDistance:
    """Compare two networks' outputs of the same crops; a hand's vertices by `unsteady` (crops, 2), see how_unsteady."""
    vertices_mm, joints_px = [], []
    for one, other in zip(expected, actual, strict=True):
        (vertices, joints), (other_vertices, other_joints) = skinned(one, pair), skinned(other, pair)
        vertices_mm.append(1000 * np.linalg.norm(vertices - other_vertices, axis=-1))
        joints_px.append(crop_px * np.linalg.norm(_project(one, joints) - _project(other, other_joints), axis=-1))
    every = np.concatenate(vertices_mm)  # (2 crops, 778)
    every = every if unsteady is None else every / unsteady.reshape(-1, 1)
    seen = np.concatenate([outputs["presence"][0] > 0 for outputs in expected])
    present = every[seen] if seen.any() else every
    return MeshDistance(
        n_images=len(expected),
        vertex_mm=float(every.max()),
        projection_px=float(np.max(joints_px)),
        present_hand_mm=float(present.mean(axis=1).max()),
        mean_mm=float(present.mean()),
    )


def how_unsteady(expected: Sequence[Outputs], shaken: Sequence[Outputs], pair: HandPair) -> NDArray[np.floating[Any]]:
    """(crops, 2): how many times more than STEADY_MM a hand moves where its picture is shaken; 1 where it does not.

    Of some hands a network is in two minds: noise that nobody sees turns them over, and so does any rounding.
    """
    both = zip(expected, shaken, strict=True)
    moved = [1000 * np.linalg.norm(skinned(one, pair)[0] - skinned(other, pair)[0], axis=-1) for one, other in both]
    return np.maximum(1.0, np.mean(moved, axis=-1) / STEADY_MM)


def skinned(outputs: Outputs, pair: HandPair) -> tuple[Floats, Floats]:
    """Return wrist-relative vertices (2, 778, 3) and joints (2, 21, 3), m."""
    return pair.skin(np.asarray(matrix_from_6d(outputs["rotation6d"][0]), np.float32), outputs["shape"][0])


def _project(outputs: Outputs, joints: Floats) -> Floats:
    camera = outputs["camera"][0]
    return camera[:, None, :1] * joints[..., :2] + camera[:, None, 1:]
