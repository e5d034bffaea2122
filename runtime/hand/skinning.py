"""Linear blend skinning, laid out for speed: it runs in every frame.

Joints are ordered by their depth in the skeleton, so that those that move together lie side by side; coordinates come
plane by plane (all x, all y, all z), so that numpy works on long rows; pose features that move nothing are left out.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .joints import MANO_TO_JOINTS

Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]

_DIAGONAL = (0, 4, 8)  # of a 3 x 3 matrix, row by row


@dataclass(frozen=True, eq=False)
class Rig:
    """A hand model of J = 16 joints, by depth, and V = 778 vertices."""

    order: IntArray  # (J,) the model's joint at each place
    parents: IntArray  # (J - 1,) place of the parent, from the second place on
    levels: tuple[tuple[slice, IntArray], ...]  # joints of each depth below the wrist, and their parents
    template: Float32Array  # (3 V + 3 J,): the rest pose's vertices, all x, all y, all z, then its joints
    pose_features: IntArray  # (P,) of the rotations' 9 (J - 1) numbers, in the rig's order, those that move vertices
    basis: Float32Array  # (P + 10, 3 V + 3 J): what they and the shape add to it
    weights: Float32Array  # (J, V)
    tips: IntArray  # (5,) vertices
    joints: IntArray  # (21,) the project's joints among J places and 5 tips

    @cached_property
    def of_tips(self) -> Rig:
        """The same with the fingertips as its only vertices: enough for joints, in a quarter of the time."""
        vertices = self.weights.shape[1]
        kept = np.concatenate(
            [*(axis * vertices + self.tips for axis in range(3)), range(3 * vertices, len(self.template))]
        )
        basis, weights = (np.ascontiguousarray(array) for array in (self.basis[:, kept], self.weights[:, self.tips]))
        tips = np.arange(len(self.tips))
        return replace(self, template=self.template[kept], basis=basis, weights=weights, tips=tips)

    def skin(
        self, rotations: Float32Array, shape: Float32Array, wrist_signs: Float32Array | None = None
    ) -> tuple[Float32Array, Float32Array]:
        """Pose the hand: (..., 16, 3, 3), (..., 10) -> vertices (..., V, 3) and joints (..., 21, 3), m.

        `wrist_signs` (..., 1, 3, 1) puts the wrist into the origin and multiplies each axis: -1, 1, 1 makes the other.
        """
        turns = rotations.take(self.order, axis=-3)
        rest, rest_joints = self._rest_pose(turns, shape)
        motions, joints = self._posed_bones(turns, rest_joints)
        if wrist_signs is not None:
            wrist = joints[..., :1, :].copy()
            motions[..., 3] -= wrist
            motions *= wrist_signs
            joints -= wrist
            joints *= wrist_signs[..., 0]
        vertices = self._blended(rest, motions)
        with_tips = np.concatenate([joints, vertices.take(self.tips, axis=-2)], axis=-2)
        return vertices, with_tips.take(self.joints, axis=-2)

    def _rest_pose(self, turns: Float32Array, betas: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Shape a hand before its bones turn, with correctives for their turning: (..., 3, V) and (..., J, 3), m."""
        features = turns[..., 1:, :, :].reshape(*turns.shape[:-3], -1).take(self.pose_features, axis=-1)
        numbers = np.concatenate([features, betas], axis=-1) @ self.basis + self.template
        vertices = 3 * self.weights.shape[1]
        batch = numbers.shape[:-1]
        return numbers[..., :vertices].reshape(*batch, 3, -1), numbers[..., vertices:].reshape(*batch, -1, 3)

    def _posed_bones(self, turns: Float32Array, rest: Float32Array) -> tuple[Float32Array, Float32Array]:
        """What moves points of the rest pose with each bone, (..., J, 3, 4), and the posed joints, (..., J, 3)."""
        motions = np.empty((*turns.shape[:-2], 3, 4), np.float32)
        motions[..., :3] = turns
        motions[..., 3] = rest
        motions[..., 1:, :, 3] -= rest.take(self.parents, axis=-2)
        for level, parents in self.levels:  # from the parent's coordinates to the world's
            above = motions[..., parents, :, :]
            moved = above[..., :3] @ motions[..., level, :, :]
            moved[..., 3] += above[..., 3]
            motions[..., level, :, :] = moved
        joints = motions[..., 3].copy()
        motions[..., 3] -= (motions[..., :3] @ rest[..., None])[..., 0]
        return motions, joints

    def _blended(self, rest: Float32Array, motions: Float32Array) -> Float32Array:
        """Return vertices (..., V, 3), moved by the bones they hang on."""
        batch = motions.shape[:-3]
        numbers = np.swapaxes(motions.reshape(*batch, len(self.order), 12), -1, -2)
        blended = (numbers @ self.weights).reshape(*batch, 3, 4, -1)
        blended[..., :3, :] *= rest[..., None, :, :]
        return np.ascontiguousarray(np.swapaxes(np.add.reduce(blended, axis=-2), -1, -2))


def joint_depths(parents: IntArray) -> IntArray:
    """(J,) parents, -1 for the wrist, before their children -> (J,) how many joints lie between each and the wrist."""
    depths = np.zeros(len(parents), np.int64)
    for joint in range(1, len(parents)):
        depths[joint] = depths[parents[joint]] + 1
    return depths


def make_rig(model: Any) -> Rig:
    """Lay out a HandModel's arrays."""
    parents, v_template, shapedirs, posedirs = model.parents, model.v_template, model.shapedirs, model.posedirs
    count, vertices = len(parents), len(v_template)
    depths = joint_depths(parents)
    order = np.argsort(depths, kind="stable")
    place = np.argsort(order, kind="stable")
    above = place[parents[order[1:]]]
    starts = np.searchsorted(np.sort(depths), range(depths.max() + 2)).tolist()
    steps = itertools.pairwise(starts[1:])
    levels = [(slice(start, stop), above[start - 1 : stop - 1]) for start, stop in steps]
    # Rows are filled one by one: large arrays in between would stay in the process's memory for good.
    features = ((order[1:, None] - 1) * 9 + np.arange(9)).reshape(-1)
    moving = np.flatnonzero(np.asarray(posedirs.any(axis=(0, 1)))[features])
    regressor = model.J_regressor[order].astype(np.float64)
    template = np.concatenate([v_template.T.reshape(-1), (regressor @ v_template).reshape(-1)])
    basis = np.zeros((len(moving) + shapedirs.shape[2], len(template)), np.float32)
    for row, feature in zip(basis, moving, strict=False):
        row[: 3 * vertices] = posedirs[:, :, features[feature]].T.reshape(-1)
        if feature % 9 in _DIAGONAL:  # features are rotations without the identity; that one is taken off here, once
            template -= row
    for row, direction in zip(basis[len(moving) :], np.moveaxis(shapedirs, 2, 0), strict=True):
        row[:] = np.concatenate([direction.T.reshape(-1), (regressor @ direction).reshape(-1)])
    return Rig(
        order=order,
        parents=above,
        levels=tuple(levels),
        template=template.astype(np.float32),
        pose_features=moving,
        basis=basis,
        weights=np.ascontiguousarray(model.weights[:, order].T),
        tips=model.tips,
        joints=np.concatenate([place, np.arange(count, count + len(model.tips))])[MANO_TO_JOINTS],
    )
