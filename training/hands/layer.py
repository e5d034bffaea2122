"""The hand model as a differentiable torch layer, both hands at once; its numpy twin is runtime's `skin`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from runtime.hand.hand_model import POSE_FEATURES, SKELETON_JOINTS, VERTICES, HandModel
from runtime.hand.joints import MANO_TO_JOINTS
from training.hands import HANDS

# Below this length a direction is unreliable: its gradient stays bounded by 1 / EPSILON, also in half precision.
EPSILON = 1e-4


class HandLayer(nn.Module):
    """Skins a right and a left hand. Everything it holds is a buffer: nothing is trained, nothing is saved.

    The buffers stay out of the state dict, so that no licensed hand model travels inside a checkpoint.
    """

    template: Tensor  # (2, 1, 2334), m
    shape_basis: Tensor  # (2, 10, 2334)
    pose_basis: Tensor  # (2, 135, 2334)
    joint_template: Tensor  # (2, 1, 48)
    joint_shape_basis: Tensor  # (2, 10, 48)
    weights: Tensor  # (2, 778, 16)
    tips: Tensor  # (2, 5)
    joint_order: Tensor  # (21,)
    by_level: Tensor  # (16,) joints, those nearer to the wrist first
    parent_of: Tensor  # (16,) joints, in the same order
    slot_of: Tensor  # (16,) where each joint is in that order
    identity: Tensor  # (3, 3)

    def __init__(self, right: HandModel, left: HandModel) -> None:
        super().__init__()
        if (right.side, left.side) != ("right", "left"):
            raise ValueError(f"HandLayer takes the right and the left hand, not {right.side} and {left.side}")
        if (right.parents != left.parents).any():
            raise ValueError("HandLayer needs the same skeleton in both hands")
        hands = (right, left)
        no_correctives = np.zeros((POSE_FEATURES, VERTICES * 3), np.float32)
        self.has_pose_basis = any(hand.pose_basis is not None for hand in hands)
        buffers: dict[str, NDArray[Any]] = {
            "template": np.stack([hand.template_row[None] for hand in hands]),
            "shape_basis": np.stack([hand.shape_basis for hand in hands]),
            "pose_basis": np.stack([no_correctives if hand.pose_basis is None else hand.pose_basis for hand in hands]),
            "joint_template": np.stack([hand.joint_row[None] for hand in hands]),
            "joint_shape_basis": np.stack([hand.joint_shape_basis for hand in hands]),
            "weights": np.stack([hand.weights for hand in hands]),
            "tips": np.stack([hand.tips for hand in hands]),
        }
        by_level = np.concatenate([[0], *(joints for joints, _ in right.levels)])
        buffers |= {
            "joint_order": MANO_TO_JOINTS.copy(),
            "by_level": by_level,
            "parent_of": np.concatenate([[0], *(parents for _, parents in right.levels)]),
            "slot_of": np.argsort(by_level),
        }
        above = np.zeros(1, np.int64)  # joints of the level before
        for level, (joints, parents) in enumerate(right.levels):
            buffers[f"within{level}"] = np.array([above.tolist().index(parent) for parent in parents])
            above = joints
        for name, array in buffers.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)
        self.register_buffer("identity", torch.eye(3), persistent=False)
        self.level_sizes = [len(joints) for joints, _ in right.levels]

    def forward(self, rotations: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
        """rotations (B, 2, 16, 3, 3), shape (B, 2, 10) -> vertices (B, 2, 778, 3), joints (B, 2, 21, 3); metres."""
        batch = rotations.shape[0]
        betas = shape.transpose(0, 1)  # hand first, for the batched products: (2, B, 10)
        rest = torch.baddbmm(self.template, betas, self.shape_basis)
        rest_joints = torch.baddbmm(self.joint_template, betas, self.joint_shape_basis)
        if self.has_pose_basis:
            features = (rotations[:, :, 1:] - self.identity).reshape(batch, HANDS, POSE_FEATURES)
            rest = torch.baddbmm(rest, features.transpose(0, 1), self.pose_basis)
        rest = rest.transpose(0, 1).reshape(batch, HANDS, VERTICES, 3)
        rest_joints = rest_joints.transpose(0, 1).reshape(batch, HANDS, SKELETON_JOINTS, 3)

        posed, joints = self._pose_skeleton(rotations, rest_joints)
        shifts = joints - (posed @ rest_joints[..., None])[..., 0]
        motions = torch.cat([posed, shifts[..., None]], dim=-1).flatten(-2)
        blended = (self.weights @ motions).unflatten(-1, (3, 4))
        vertices = (blended[..., :3] @ rest[..., None])[..., 0] + blended[..., 3]

        hand = torch.arange(HANDS, device=vertices.device)[:, None]
        with_tips = torch.cat([joints, vertices[:, hand, self.tips]], dim=2)
        return vertices, with_tips[:, :, self.joint_order]

    def _pose_skeleton(self, rotations: Tensor, rest_joints: Tensor) -> tuple[Tensor, Tensor]:
        """Global rotations (B, 2, 16, 3, 3) and joint positions (B, 2, 16, 3)."""
        own = rotations.index_select(2, self.by_level)
        rest = rest_joints.index_select(2, self.by_level)
        bones = rest - rest_joints.index_select(2, self.parent_of)
        turns, places, start = [own[:, :, :1]], [rest[:, :, :1]], 1
        for level, size in enumerate(self.level_sizes):
            within = self.get_buffer(f"within{level}")  # each joint's parent in the level above
            above = turns[-1].index_select(2, within)
            step = (above @ bones[:, :, start : start + size, :, None])[..., 0]
            places.append(places[-1].index_select(2, within) + step)
            turns.append(above @ own[:, :, start : start + size])
            start += size
        return (
            torch.cat(turns, dim=2).index_select(2, self.slot_of),
            torch.cat(places, dim=2).index_select(2, self.slot_of),
        )


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
