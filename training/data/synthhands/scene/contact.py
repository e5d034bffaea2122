"""How far apart two hands are: sliding spheres into contact, and the signed gap between two meshes."""

from __future__ import annotations

import numpy as np

from training.data.synthhands.arrays import Floats, Ints
from training.data.synthhands.kernels import geometry

# Vertices farther than this from the other mesh say nothing about contact.
NEAR_M = 0.015


@geometry
def slide_to_gap(
    fixed: Floats, fixed_radii: Floats, moving: Floats, moving_radii: Floats, direction: Floats, gap_m: float
) -> float:
    """How far along the unit `direction` the moving spheres lie when, coming from afar, they are first at `gap_m`.

    Negative infinity where they never come that close.
    """
    best = -np.inf
    for i in range(fixed.shape[0]):
        for j in range(moving.shape[0]):
            x = moving[j, 0] - fixed[i, 0]
            y = moving[j, 1] - fixed[i, 1]
            z = moving[j, 2] - fixed[i, 2]
            reach = max(fixed_radii[i] + moving_radii[j] + gap_m, 0.0)
            along = x * direction[0] + y * direction[1] + z * direction[2]
            root = along * along - (x * x + y * y + z * z) + reach * reach
            if root > 0.0:
                best = max(best, np.sqrt(root) - along)
    return best


def smallest_gap(first: Floats, first_radii: Floats, second: Floats, second_radii: Floats) -> float:
    """The smallest gap between two sets of spheres, metres; negative where they overlap."""
    distance = np.sqrt(((first[:, None] - second[None]) ** 2).sum(axis=-1))
    return float((distance - first_radii[:, None] - second_radii[None]).min())


def incident_faces(faces: Ints, vertex_count: int) -> tuple[Ints, Ints]:
    """For each vertex the faces around it, as (starts (V + 1,), face numbers)."""
    corners = faces.reshape(-1)
    order = np.argsort(corners, kind="stable")
    starts = np.zeros(vertex_count + 1, np.int64)
    np.cumsum(np.bincount(corners, minlength=vertex_count), out=starts[1:])
    return starts, order // 3


@geometry
def mesh_gap(first: Floats, second: Floats, faces: Ints, starts: Ints, around: Ints) -> float:
    """Signed gap from the vertices of `first` to the mesh `second`, metres; negative is penetration depth.

    `starts` and `around` are the mesh's incident faces: the nearest face is looked for around the nearest vertex. Gaps
    over `NEAR_M` come out as `NEAR_M`.
    """
    low, high = np.empty(3), np.empty(3)
    for axis in range(3):
        low[axis] = second[:, axis].min() - NEAR_M
        high[axis] = second[:, axis].max() + NEAR_M
    smallest = NEAR_M
    normal, offset = np.empty(3), np.empty(3)
    for i in range(first.shape[0]):
        point = first[i]
        if (point < low).any() or (point > high).any():
            continue
        nearest, nearest_squared = -1, NEAR_M * NEAR_M
        for j in range(second.shape[0]):
            x, y, z = point[0] - second[j, 0], point[1] - second[j, 1], point[2] - second[j, 2]
            squared = x * x + y * y + z * z
            if squared < nearest_squared:
                nearest, nearest_squared = j, squared
        if nearest < 0:
            continue
        closest = np.inf
        side = 0.0
        for k in range(starts[nearest], starts[nearest + 1]):
            face = faces[around[k]]
            a, b, c = second[face[0]], second[face[1]], second[face[2]]
            squared = _offset_from_triangle(point, a, b, c, offset)
            _cross(b - a, c - a, normal)
            # Faces that share the closest point vote together: at an edge or a corner one alone may be wrong.
            vote = offset[0] * normal[0] + offset[1] * normal[1] + offset[2] * normal[2]
            if squared < closest - 1e-12:
                closest, side = squared, vote
            elif squared < closest + 1e-12:
                side += vote
        gap = np.sqrt(closest)
        smallest = min(smallest, -gap if side < 0 else gap)
    return smallest


@geometry
def _cross(a: Floats, b: Floats, out: Floats) -> None:
    out[0] = a[1] * b[2] - a[2] * b[1]
    out[1] = a[2] * b[0] - a[0] * b[2]
    out[2] = a[0] * b[1] - a[1] * b[0]


@geometry
def _offset_from_triangle(point: Floats, a: Floats, b: Floats, c: Floats, offset: Floats) -> float:
    """Fills `offset` with point minus the triangle's closest point (Ericson, Real-Time Collision Detection, 5.1.5)."""
    ab, ac, ap = b - a, c - a, point - a
    d1 = ab[0] * ap[0] + ab[1] * ap[1] + ab[2] * ap[2]
    d2 = ac[0] * ap[0] + ac[1] * ap[1] + ac[2] * ap[2]
    bp = point - b
    d3 = ab[0] * bp[0] + ab[1] * bp[1] + ab[2] * bp[2]
    d4 = ac[0] * bp[0] + ac[1] * bp[1] + ac[2] * bp[2]
    cp = point - c
    d5 = ab[0] * cp[0] + ab[1] * cp[1] + ab[2] * cp[2]
    d6 = ac[0] * cp[0] + ac[1] * cp[1] + ac[2] * cp[2]
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    if d1 <= 0 and d2 <= 0:
        v, w = 0.0, 0.0
    elif d3 >= 0 and d4 <= d3:
        v, w = 1.0, 0.0
    elif d6 >= 0 and d5 <= d6:
        v, w = 0.0, 1.0
    elif vc <= 0 and d1 >= 0 and d3 <= 0:
        v, w = d1 / (d1 - d3), 0.0
    elif vb <= 0 and d2 >= 0 and d6 <= 0:
        v, w = 0.0, d2 / (d2 - d6)
    elif va <= 0 and d4 - d3 >= 0 and d5 - d6 >= 0:
        w = (d4 - d3) / ((d4 - d3) + (d5 - d6))
        v = 1.0 - w
    else:
        total = va + vb + vc
        v, w = vb / total, vc / total
    squared = 0.0
    for axis in range(3):
        offset[axis] = ap[axis] - v * ab[axis] - w * ac[axis]
        squared += offset[axis] * offset[axis]
    return squared
