"""How far apart two hands are, and what hides them: spheres slid into contact, the gap between two meshes."""

from __future__ import annotations

import numpy as np

from training.data.synthhands.arrays import Floats
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


@geometry
def mesh_gap(first: Floats, second: Floats, normals: Floats) -> float:
    """Signed gap from the vertices of `first` to the surface of `second`, metres; negative is penetration depth.

    Measured from the plane at the nearest vertex, which is right to a millimetre where vertices are 5 mm apart. Gaps
    over `NEAR_M` come out as `NEAR_M`.
    """
    low, high = np.empty(3), np.empty(3)
    for axis in range(3):
        low[axis] = second[:, axis].min() - NEAR_M
        high[axis] = second[:, axis].max() + NEAR_M
    smallest = NEAR_M
    for i in range(first.shape[0]):
        px, py, pz = first[i, 0], first[i, 1], first[i, 2]
        if px < low[0] or py < low[1] or pz < low[2] or px > high[0] or py > high[1] or pz > high[2]:
            continue
        nearest, nearest_squared = -1, NEAR_M * NEAR_M
        for j in range(second.shape[0]):
            x, y, z = px - second[j, 0], py - second[j, 1], pz - second[j, 2]
            squared = x * x + y * y + z * z
            if squared < nearest_squared:
                nearest, nearest_squared = j, squared
        if nearest >= 0:
            x, y, z = px - second[nearest, 0], py - second[nearest, 1], pz - second[nearest, 2]
            smallest = min(smallest, x * normals[nearest, 0] + y * normals[nearest, 1] + z * normals[nearest, 2])
    return smallest


@geometry
def hidden_share(points: Floats, camera: Floats, spheres: Floats) -> float:
    """Share of points (N, 3) that spheres (S, 4), the radius last, stand in front of, seen from the camera (3,)."""
    hidden = 0
    for i in range(points.shape[0]):
        x, y, z = points[i, 0] - camera[0], points[i, 1] - camera[1], points[i, 2] - camera[2]
        length = np.sqrt(x * x + y * y + z * z)
        x, y, z = x / length, y / length, z / length
        for j in range(spheres.shape[0]):
            u, v, w = spheres[j, 0] - camera[0], spheres[j, 1] - camera[1], spheres[j, 2] - camera[2]
            along = u * x + v * y + w * z
            if along < length and u * u + v * v + w * w - along * along < spheres[j, 3] * spheres[j, 3]:
                hidden += 1
                break
    return hidden / points.shape[0]
