"""One hand prepared for posing: how each joint bends, and spheres that stand for its volume.

Everything here is the right hand at rest; a left hand is posed as the right one's mirror image. The rest pose is
MANO's: fingers along -x, palm towards -y, thumb towards +z.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.hand.hand_model import HandModel, skin
from runtime.hand.joints import MANO_TO_JOINTS
from training.data.synthhands.arrays import Floats, Ints

# MANO's joints by finger, base to tip; the sixteenth and later are the fingertips.
FINGER_JOINTS = {
    "index": (1, 2, 3),
    "middle": (4, 5, 6),
    "ring": (10, 11, 12),
    "pinky": (7, 8, 9),
    "thumb": (13, 14, 15),
}
TIP_OF = {3: 16, 6: 17, 9: 18, 12: 19, 15: 20}
KNUCKLES = (1, 4, 10, 7)  # index, middle, ring, pinky
MIRROR = np.diag([-1.0, 1.0, 1.0])

# Where the soft side of a bone looks at rest; flexing turns the bone that way.
FINGER_PAD = np.array([0.0, -1.0, 0.0])
THUMB_PAD = np.array([0.0, -0.45, -0.9])
_SPHERES_PER_PHALANX = 4
_SPHERES_PER_METACARPAL = 6
_RADIUS_NEIGHBOURS = 6

# mano = joints[..., JOINTS_TO_MANO, :], 16 skeleton joints and 5 tips.
JOINTS_TO_MANO: Ints = np.argsort(MANO_TO_JOINTS)


@dataclass(frozen=True)
class Rig:
    """Right-hand geometry of one hand shape, at rest, metres."""

    joints: Floats  # (21, 3) MANO's 16 joints and the 5 tips
    bend_axes: Floats  # (16, 3, 3) per joint: unit axes of flexion, abduction and twist; row 0 unused
    sphere_centres: Floats  # (S, 3)
    sphere_radii: Floats  # (S,)
    sphere_bones: Ints  # (S,) the joint whose bone carries the sphere
    axes: Floats  # (3, 3) columns: unit, knuckles -> wrist; out of the palm; across both


def build_rig(model: HandModel, shape: Floats) -> Rig:
    """The rig of one right hand of the given shape (10,)."""
    vertices, joints = (array.astype(np.float64) for array in skin(model, np.tile(np.eye(3), (16, 1, 1)), shape))
    mano = joints[JOINTS_TO_MANO]
    centres, radii, bones = _spheres(mano, vertices)
    wrist = wrist_direction(joints)
    palm = across(FINGER_PAD, wrist)
    axes = np.stack([wrist, palm, np.cross(wrist, palm)], axis=1)
    return Rig(mano, _bend_axes(mano), centres, radii, bones, axes)


def child_of(joint: int) -> int:
    """The next joint of the same finger, or its tip."""
    return TIP_OF.get(joint, joint + 1)


@cache
def wrist_loop(model: HandModel) -> Ints:
    """The vertices around a hand's wrist, its mesh's one boundary, in the direction of the faces' edges."""
    faces = model.faces
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    size = int(faces.max()) + 1
    open_edges = edges[~np.isin(edges[:, 0] * size + edges[:, 1], edges[:, 1] * size + edges[:, 0])]
    following = dict(open_edges.tolist())
    loop = [int(open_edges[0, 0])]
    while following[loop[-1]] != loop[0]:
        loop.append(following[loop[-1]])
    return np.array(loop)


def _bend_axes(mano: Floats) -> Floats:
    axes = np.zeros((16, 3, 3))
    for name, chain in FINGER_JOINTS.items():
        for joint in chain:
            bone = unit(mano[child_of(joint)] - mano[joint])
            pad = across(THUMB_PAD if name == "thumb" else FINGER_PAD, bone)
            axes[joint] = np.cross(bone, pad), -pad, bone
    return axes


def _spheres(mano: Floats, vertices: Floats) -> tuple[Floats, Floats, Ints]:
    """Spheres along every phalanx and metacarpal, as thick as the nearest skin allows."""
    segments = [(joint, joint, child_of(joint), _SPHERES_PER_PHALANX) for joint in range(1, 16)]
    segments += [(0, 0, chain[0], _SPHERES_PER_METACARPAL) for chain in FINGER_JOINTS.values()]
    centres, bones = [], []
    for bone, start, end, count in segments:
        along = (np.arange(count) + 0.5)[:, None] / count
        centres.append(mano[start] * (1 - along) + mano[end] * along)
        bones += [bone] * count
    points = np.concatenate(centres)
    distances = np.linalg.norm(points[:, None] - vertices[None], axis=-1)
    radii = np.sort(distances, axis=1)[:, :_RADIUS_NEIGHBOURS].mean(axis=1)
    return points, radii, np.array(bones)


def vertex_normals(vertices: Floats, faces: NDArray[np.integer[Any]]) -> Floats:
    """Unit normals (V, 3), faces weighted by area."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    across = np.cross(b - a, c - a)
    sums = [np.bincount(faces.ravel(), np.repeat(across[:, axis], 3), minlength=len(vertices)) for axis in range(3)]
    normals = np.stack(sums, axis=1)
    length = np.sqrt((normals * normals).sum(axis=1, keepdims=True))
    return normals / np.maximum(length, 1e-20)


def wrist_direction(joints: Floats) -> Floats:
    """Unit vector from the mean of the four knuckles to the wrist; joints (21, 3) in the project's order."""
    mano = joints[JOINTS_TO_MANO]
    return unit(mano[0] - mano[list(KNUCKLES)].mean(axis=0))


def unit(vector: Floats) -> Floats:
    """The vector at length 1."""
    return vector / np.sqrt((vector * vector).sum())


def across(vector: Floats, axis: Floats) -> Floats:
    """The unit vector at right angles to a unit axis that is nearest to a vector."""
    return unit(vector - (vector @ axis) * axis)
