"""Predictors that look at no image: what every figure is held against."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime.hand.joints import JOINT_COUNT, MIDDLE_MCP
from training.data.frames import Frames
from training.evaluation.protocols import bone_length


def mean_pose_mpjpe_mm(train: Frames, test: Frames) -> float:
    """MPJPE (mcp-scaled) of the predictor that knows only the train split's mean of aligned joints per hand.

    The mean is taken after alignment, where it is the best constant; the prediction is the yardstick of every card.
    """
    mean = np.nanmean(_aligned(train)[0], axis=0)
    joints, scale = _aligned(test)
    both = ~np.isnan(scale).any(axis=1)
    error = np.linalg.norm(joints[both] - mean, axis=-1) * scale[both][..., None]
    return float(error[..., np.arange(JOINT_COUNT) != MIDDLE_MCP].mean() * 1000)


def _aligned(frames: Frames) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Per image the mesh joints at the middle MCP over the bone's length (N, 2, 21, 3), and it; nan if absent."""
    turn = frames.camera_rotation[frames.camera_of][:, None]
    joints = frames.mano_joints_m[frames.pose_of] @ np.swapaxes(turn, -1, -2)
    scale = np.where(frames.has_mano[frames.pose_of], bone_length(joints), np.nan)
    return (joints - joints[:, :, MIDDLE_MCP : MIDDLE_MCP + 1]) / scale[..., None, None], scale
