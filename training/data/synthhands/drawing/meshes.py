"""The mesh that is drawn: a hand with an arm grown onto its wrist, smoothed by one Loop subdivision.

The topology and everything that does not move (where creases, nails and skin texture lie) is worked out once per hand
model; a frame then costs one sparse product.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from runtime.hand.hand_model import HandModel, mirror, skin
from training.data.synthhands.arrays import Floats, Ints
from training.data.synthhands.scene.body import ARM_STATIONS_M, Arm
from training.data.synthhands.scene.posable import (
    FINGER_PAD,
    JOINTS_TO_MANO,
    THUMB_PAD,
    TIP_OF,
    boundary_loop,
    build_rig,
)

# Part of a face, also the values of a label image (0 is background).
RIGHT_HAND, LEFT_HAND, RIGHT_ARM, LEFT_ARM = 1, 2, 3, 4

_ROUNDED_BY_M = 0.12  # from the wrist an arm's section becomes round over this distance
_ROUNDNESS = 0.7
_NAIL_CENTRE, _NAIL_HALF_LENGTH, _NAIL_HALF_WIDTH_M = 0.74, 0.28, 0.0052
_KNUCKLE_REACH_M, _TIP_REACH_M = 0.009, 0.010


@dataclass(frozen=True)
class Material:
    """What stays with a drawn vertex, whatever the pose."""

    palm: Floats  # (V,) 1 where the skin looks out of the palm at rest, 0 on the back
    knuckle: Floats  # (V,) 0..1 near the back of finger joints
    fingertip: Floats  # (V,) 0..1
    nail: Floats  # (V,) positive on nails
    arm_m: Floats  # (V,) distance from the wrist along the arm, 0 on the hand
    texture_m: Floats  # (V, 2) where in the flat skin texture: x and z at rest, right hand


@dataclass(frozen=True)
class DrawnMesh:
    """Topology of one side: coarse vertices are the hand's, then one ring of the wrist's size per arm station."""

    subdivision: Any  # sparse (V, coarse)
    faces: NDArray[np.int32]  # (F, 3)
    parts: NDArray[np.uint8]  # (F,)
    loop: Ints
    material: Material
    coarse_faces: NDArray[np.int32]
    coarse_parts: NDArray[np.uint8]

    def coarse(self, vertices: Floats, arm: Arm) -> Floats:
        """(778, 3) and an arm -> (coarse, 3)."""
        return np.concatenate([vertices, _arm_rings(vertices[self.loop], arm)])


def build_drawn_mesh(model: HandModel) -> DrawnMesh:
    """The drawn mesh of one hand model's side."""
    side = 0 if model.side == "right" else 1
    loop = boundary_loop(model.faces)
    hand_faces = model.faces.astype(np.int64)
    coarse_faces = np.concatenate([hand_faces, _arm_faces(loop, len(model.v_template))])
    coarse_parts = np.full(len(coarse_faces), RIGHT_HAND + side, np.uint8)
    coarse_parts[len(hand_faces) :] = RIGHT_ARM + side
    size = len(model.v_template) + len(loop) * len(ARM_STATIONS_M)
    subdivision, faces = loop_subdivision(size, coarse_faces)
    return DrawnMesh(
        subdivision=subdivision,
        faces=faces.astype(np.int32),
        parts=np.tile(coarse_parts, 4),
        loop=loop,
        material=_material(model, subdivision, faces, loop),
        coarse_faces=coarse_faces.astype(np.int32),
        coarse_parts=coarse_parts,
    )


def loop_subdivision(size: int, faces: Ints) -> tuple[Any, Ints]:
    """One Loop subdivision step: a sparse matrix (new, size) and the new faces, four per face.

    The new faces are ordered corner 0 of all faces, corner 1, corner 2, centre.
    """
    corners = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    opposite = faces[:, [2, 0, 1]].reshape(-1)
    edges, edge_of = np.unique(np.sort(corners, axis=1), axis=0, return_inverse=True)
    edge_of = edge_of.reshape(-1)
    border = np.bincount(edge_of, minlength=len(edges)) == 1
    middle = size + np.arange(len(edges))

    end_weight = np.where(border, 1 / 2, 3 / 8)
    inner = ~border[edge_of]
    entries = [(middle, edges[:, 0], end_weight), (middle, edges[:, 1], end_weight)]
    entries.append((middle[edge_of[inner]], opposite[inner], np.full(int(inner.sum()), 1 / 8)))
    on_border = np.zeros(size, bool)
    on_border[edges[border]] = True
    both = np.concatenate([edges, edges[:, ::-1]])
    valence = np.bincount(both[:, 0], minlength=size)
    ring_weight = (5 / 8 - (3 / 8 + np.cos(2 * np.pi / np.maximum(valence, 1)) / 4) ** 2) / np.maximum(valence, 1)
    # A border vertex follows its two border neighbours only, by an eighth each.
    border_edge = np.concatenate([border, border])
    used = border_edge | ~on_border[both[:, 0]]
    weight = np.where(on_border[both[:, 0]], 1 / 8, ring_weight[both[:, 0]])
    entries.append((both[used, 0], both[used, 1], weight[used]))
    every = np.arange(size)
    entries.append((every, every, np.where(on_border, 3 / 4, 1 - valence * ring_weight)))

    rows, columns, values = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    matrix = scipy.sparse.csr_matrix((values, (rows, columns)), shape=(size + len(edges), size))
    ab, bc, ca = (size + edge_of.reshape(-1, 3)).T
    a, b, c = faces.T
    quarters = [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
    return matrix, np.concatenate([np.stack(quarter, axis=1) for quarter in quarters])


def vertex_normals(vertices: Floats, faces: NDArray[np.int32]) -> Floats:
    """Unit normals (V, 3), faces weighted by area."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    across = np.cross(b - a, c - a)
    sums = [np.bincount(faces.ravel(), np.repeat(across[:, axis], 3), minlength=len(vertices)) for axis in range(3)]
    normals = np.stack(sums, axis=1)
    length = np.sqrt((normals * normals).sum(axis=1, keepdims=True))
    return normals / np.maximum(length, 1e-20)


def _arm_faces(loop: Ints, hand_size: int) -> Ints:
    count = len(loop)
    rings = [loop] + [hand_size + ring * count + np.arange(count) for ring in range(len(ARM_STATIONS_M))]
    faces = []
    for near, far in itertools.pairwise(rings):
        near_next, far_next = np.roll(near, -1), np.roll(far, -1)
        faces += [np.stack([near_next, near, far], axis=1), np.stack([near_next, far, far_next], axis=1)]
    return np.concatenate(faces)


def _arm_rings(wrist: Floats, arm: Arm) -> Floats:
    """(L, 3) wrist loop and an arm -> (stations * L, 3)."""
    offsets = wrist - wrist.mean(axis=0)
    start = arm.tangents[0]
    flat = offsets - np.outer(offsets @ start, start)
    length = np.sqrt((flat * flat).sum(axis=1, keepdims=True))
    circle = flat / np.maximum(length, 1e-9) * length.mean()
    rings = []
    for station, centre, tangent, girth in zip(ARM_STATIONS_M, arm.centres, arm.tangents, arm.girth, strict=True):
        roundness = _ROUNDNESS * min(station / _ROUNDED_BY_M, 1.0)
        section = flat * (1 - roundness) + circle * roundness
        rings.append(centre + girth * section @ _shortest_turn(start, tangent).T)
    return np.concatenate(rings)


def _shortest_turn(start: Floats, end: Floats) -> Floats:
    """The rotation (3, 3) that takes one unit vector to another, not opposite, one."""
    axis = np.cross(start, end)
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + skew + skew @ skew / (1 + start @ end)


def _material(model: HandModel, subdivision: Any, faces: Ints, loop: Ints) -> Material:
    vertices, joints = (array.astype(np.float64) for array in skin(model, np.tile(np.eye(3), (16, 1, 1)), np.zeros(10)))
    mano = joints[JOINTS_TO_MANO]
    if model.side == "left":  # worked out on the mirror image, a right hand
        vertices, mano, faces = vertices * [-1, 1, 1], mano * [-1, 1, 1], faces[:, ::-1]
    out = np.tile([1.0, 0.0, 0.0], (len(ARM_STATIONS_M), 1))
    centres = vertices[loop].mean(axis=0) + ARM_STATIONS_M[:, None] * out
    straight = Arm(centres, out, np.ones(len(ARM_STATIONS_M)))
    rest = subdivision @ np.concatenate([vertices, _arm_rings(vertices[loop], straight)])
    normals = vertex_normals(rest, faces.astype(np.int32))
    arm_m = subdivision @ np.concatenate([np.zeros(len(vertices)), np.repeat(ARM_STATIONS_M, len(loop))])

    thumb = subdivision @ np.concatenate([model.weights[:, 13:].sum(axis=1), np.zeros(len(ARM_STATIONS_M) * len(loop))])
    to_palm = normals @ FINGER_PAD * (1 - thumb) + normals @ (THUMB_PAD / np.sqrt(THUMB_PAD @ THUMB_PAD)) * thumb
    knuckle = sum(_bump(rest, mano[bone], _KNUCKLE_REACH_M) for bone in range(1, 16)) * np.clip(normals[:, 1], 0, 1)
    fingertip = sum(_bump(rest, mano[tip], _TIP_REACH_M) for tip in TIP_OF.values())
    return Material(
        palm=np.clip(0.5 + 1.6 * to_palm, 0, 1),
        knuckle=np.clip(knuckle, 0, 1),
        fingertip=np.clip(fingertip, 0, 1),
        nail=_nails(model, rest, normals, mano),
        arm_m=arm_m,
        texture_m=rest[:, [0, 2]],
    )


def _bump(points: Floats, centre: Floats, reach_m: float) -> Floats:
    return np.exp(-((points - centre) ** 2).sum(axis=1) / (2 * reach_m**2))


def _nails(model: HandModel, rest: Floats, normals: Floats, mano: Floats) -> Floats:
    """A smooth field, positive on the nails: drawn crisp by thresholding it per pixel."""
    field = np.full(len(rest), -1.0)
    axes = build_rig(model if model.side == "right" else mirror(model), np.zeros(10)).bend_axes
    for last, tip in TIP_OF.items():
        _, back, bone = axes[last]
        length = float(np.sqrt(((mano[tip] - mano[last]) ** 2).sum()))
        local = rest - mano[last]
        along = local @ bone / length
        aside = local @ np.cross(back, bone)
        width = _NAIL_HALF_WIDTH_M * (1.2 if last == 15 else 0.85 if last == 9 else 1.0)
        nail = 1 - ((along - _NAIL_CENTRE) / _NAIL_HALF_LENGTH) ** 2 - (aside / width) ** 2
        on_back = np.clip((normals @ back - 0.25) / 0.3, 0, 1)
        near = np.abs(local @ back) < 0.02
        field = np.maximum(field, np.where(near, np.clip(nail, -1, 1) * on_back - (1 - on_back), -1))
    return field
