"""The mesh that is drawn: hands, arms grown onto their wrists, smoothed by one Loop subdivision, and what they hold.

The topology and everything that does not move (where creases, nails and skin texture lie) is worked out once per hand
model; a frame then gives coarse vertices only.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import scipy.sparse

from runtime.hand.hand_model import HandModel, HandPair, mirror, skin
from training.data.synthhands.arrays import Float32s, Floats, Ints
from training.data.synthhands.drawing.paint import ARM, ARM_PART, HAND, MATERIAL_SIZE, TEXTURE_X, THING
from training.data.synthhands.drawing.raster import Mesh
from training.data.synthhands.kernels import geometry
from training.data.synthhands.scene.body import ARM_STATIONS_M
from training.data.synthhands.scene.posable import (
    FINGER_JOINTS,
    FINGER_PAD,
    JOINTS_TO_MANO,
    THUMB_PAD,
    TIP_OF,
    build_rig,
    child_of,
    vertex_normals,
    wrist_loop,
)
from training.data.synthhands.scene.scene import Scene
from training.data.synthhands.scene.things import THING_VERTICES, thing_faces

OWNERS = 4  # right hand, left hand, what either holds: each is in a picture or not
_ROUNDED_BY_M = 0.12  # from the wrist an arm's section becomes round over this distance
_ROUNDNESS = 0.7
_SLEEVE_GIRTH = 1.20
_SHADOW_ARM_M = 0.22  # arms cast shadows up to here: the map is for the hands
_NAIL_CENTRE, _NAIL_HALF_LENGTH, _NAIL_HALF_WIDTH_M = 0.74, 0.28, 0.0052
_KNUCKLE_REACH_M, _TIP_REACH_M = 0.009, 0.010


def build_mesh(models: HandPair) -> Mesh:
    """Both hands with their arms, and a thing for each; coarse vertices as `coarse_vertices` gives them."""
    pieces = [*map(_hand, range(2), models), *map(_thing, range(2))]
    matrices, faces, parts, materials = zip(*pieces, strict=True)
    starts = np.cumsum([0, *map(len, materials[:-1])])
    return join_mesh(
        scipy.sparse.block_diag(matrices, format="csr"),
        np.concatenate([own + start for own, start in zip(faces, starts, strict=True)]),
        np.concatenate(parts),
        np.repeat(np.arange(OWNERS, dtype=np.uint8), list(map(len, faces))),
        np.concatenate(materials),
    )


def _hand(side: int, model: HandModel) -> tuple[Any, Ints, Any, Float32s]:
    """Subdivision, faces, their parts and material of a hand with its arm."""
    loop, size = wrist_loop(model), len(model.v_template)
    coarse = np.concatenate([model.faces.astype(np.int64), _arm_faces(loop, size)])
    parts = np.repeat([HAND + side, ARM_PART + side], [len(model.faces), len(coarse) - len(model.faces)])
    matrix, faces = loop_subdivision(size + len(loop) * len(ARM_STATIONS_M), coarse)
    return matrix, faces, np.tile(parts.astype(np.uint8), 4), _material(model, matrix, faces, loop)


def _thing(side: int) -> tuple[Any, Ints, Any, Float32s]:
    faces, material = thing_faces(), np.zeros((THING_VERTICES, MATERIAL_SIZE), np.float32)
    material[:, TEXTURE_X] = np.linspace(0, 0.1, THING_VERTICES)  # for its stripes
    same = scipy.sparse.identity(THING_VERTICES, format="csr")
    return same, faces, np.full(len(faces), THING + side, np.uint8), material


def join_mesh(subdivision: Any, faces: Ints, parts: Any, owners: Any, material: Float32s) -> Mesh:
    """The arrays that kernels take."""
    order = np.argsort(faces.reshape(-1), kind="stable")
    around_starts = np.zeros(len(material) + 1, np.int32)
    np.cumsum(np.bincount(faces.reshape(-1), minlength=len(material)), out=around_starts[1:])
    return Mesh(
        starts=subdivision.indptr.astype(np.int32),
        columns=subdivision.indices.astype(np.int32),
        weights=subdivision.data.astype(np.float32),
        faces=np.ascontiguousarray(faces, np.int32),
        parts=parts,
        owners=owners,
        casts=(material[faces[:, 0], ARM] < _SHADOW_ARM_M).astype(np.uint8),
        around_starts=around_starts,
        around=(order // 3).astype(np.int32),
        material=material,
    )


def coarse_vertices(scene: Scene, models: HandPair) -> tuple[Float32s, Any]:
    """(C, 3) of a scene, world, m: hands with arms, then things; and which owners (OWNERS,) are there."""
    sizes = [len(model.v_template) + len(wrist_loop(model)) * len(ARM_STATIONS_M) for model in models]
    blocks = [np.zeros((size, 3)) for size in (*sizes, THING_VERTICES, THING_VERTICES)]
    shown = np.zeros(OWNERS, np.uint8)
    for hand in scene.hands:
        girth = hand.arm.girth * np.where(scene.sleeves_m[hand.side] < ARM_STATIONS_M, _SLEEVE_GIRTH, 1.0)
        wrist = hand.vertices[wrist_loop(models[hand.side])]
        rings = _arm_rings(wrist, hand.arm.centres, hand.arm.tangents, girth)
        blocks[hand.side], shown[hand.side] = np.concatenate([hand.vertices, rings.reshape(-1, 3)]), 1
        if hand.thing is not None:
            blocks[2 + hand.side], shown[2 + hand.side] = hand.thing, 1
    return np.concatenate(blocks).astype(np.float32), shown


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


def _arm_faces(loop: Ints, hand_size: int) -> Ints:
    count = len(loop)
    rings = [loop] + [hand_size + ring * count + np.arange(count) for ring in range(len(ARM_STATIONS_M))]
    faces = []
    for near, far in itertools.pairwise(rings):
        near_next, far_next = np.roll(near, -1), np.roll(far, -1)
        faces += [np.stack([near_next, near, far], axis=1), np.stack([near_next, far, far_next], axis=1)]
    return np.concatenate(faces)


@geometry
def _arm_rings(wrist: Floats, centres: Floats, tangents: Floats, girth: Floats) -> Floats:
    """(L, 3) wrist loop and an arm -> (stations, L, 3)."""
    size = len(wrist)
    start = tangents[0]
    flat, circle = np.empty((size, 3)), np.empty((size, 3))
    middle, mean = wrist.sum(axis=0) / size, 0.0
    for i in range(size):
        offset = wrist[i] - middle
        flat[i] = offset - (offset * start).sum() * start
        mean += np.sqrt((flat[i] * flat[i]).sum()) / size
    for i in range(size):
        circle[i] = flat[i] / max(np.sqrt((flat[i] * flat[i]).sum()), 1e-9) * mean
    rings = np.empty((len(centres), size, 3))
    for station in range(len(centres)):
        roundness = _ROUNDNESS * min(ARM_STATIONS_M[station] / _ROUNDED_BY_M, 1.0)
        tangent = tangents[station]
        axis = _cross(start, tangent)  # of the shortest turn from one to the other
        share = 1 / (1 + (start * tangent).sum())
        for i in range(size):
            point = flat[i] * (1 - roundness) + circle[i] * roundness
            once = _cross(axis, point)
            rings[station, i] = centres[station] + girth[station] * (point + once + share * _cross(axis, once))
    return rings


@geometry
def _cross(a: Floats, b: Floats) -> Floats:
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def _material(model: HandModel, subdivision: Any, faces: Ints, loop: Ints) -> Float32s:
    """(V, MATERIAL_SIZE): what stays with a drawn vertex. Worked out on right hands; a left one is mirrored."""
    vertices, joints = (array.astype(np.float64) for array in skin(model, np.tile(np.eye(3), (16, 1, 1)), np.zeros(10)))
    mano = joints[JOINTS_TO_MANO]
    if model.side == "left":
        vertices, mano, faces = vertices * [-1, 1, 1], mano * [-1, 1, 1], faces[:, ::-1]
    out = np.tile([1.0, 0.0, 0.0], (len(ARM_STATIONS_M), 1))
    centres = vertices[loop].mean(axis=0) + ARM_STATIONS_M[:, None] * out
    rings = _arm_rings(vertices[loop], centres, out, np.ones(len(ARM_STATIONS_M)))
    rest = subdivision @ np.concatenate([vertices, rings.reshape(-1, 3)])
    normals = vertex_normals(rest, faces)
    arm_m = subdivision @ np.concatenate([np.zeros(len(vertices)), np.repeat(ARM_STATIONS_M, len(loop))])

    bones = subdivision @ np.concatenate([model.weights, np.tile(model.weights[:1] * 0, (rings.size // 3, 1))])
    thumb = bones[:, 13:].sum(axis=1)
    to_palm = normals @ FINGER_PAD * (1 - thumb) + normals @ (THUMB_PAD / np.sqrt(THUMB_PAD @ THUMB_PAD)) * thumb
    knuckle = sum(_bump(rest, mano[bone], _KNUCKLE_REACH_M) for bone in range(1, 16)) * np.clip(normals[:, 1], 0, 1)
    fingertip = sum(_bump(rest, mano[tip], _TIP_REACH_M) for tip in TIP_OF.values())
    # How far along its finger's first bone a vertex is: where rings are worn.
    chains = list(FINGER_JOINTS.values())
    finger = np.argmax([bones[:, list(chain)].sum(axis=1) for chain in chains], axis=0)
    along = np.full(len(rest), -1.0)
    for number, (base, *_) in enumerate(chains):
        bone = mano[child_of(base)] - mano[base]
        on_it = (finger == number) & (bones[:, base] > 0.1)
        along[on_it] = (rest[on_it] - mano[base]) @ bone / (bone @ bone)
    palm, nail = np.clip(0.5 + 1.6 * to_palm, 0, 1), _nails(model, rest, normals, mano)
    z = rest[:, 2] - np.where(arm_m > 0, centres[0, 2], 0)
    columns = [rest[:, 0], z, palm, np.clip(knuckle, 0, 1), np.clip(fingertip, 0, 1), nail, arm_m, finger, along]
    return np.stack(columns, axis=1).astype(np.float32)


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
