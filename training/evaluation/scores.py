"""All figures of one predictor on one data set, batch after batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.hand.joints import JOINT_COUNT, MIDDLE_MCP
from training.data.frames import Frames
from training.evaluation.points import PointTally
from training.evaluation.protocols import (
    INTERACTING,
    MCP_SCALED,
    HandBatch,
    Protocol,
    Result,
    Tally,
    Truth,
    bone_length,
    mean_of_means,
)


@dataclass(frozen=True)
class Accuracy:
    """What a card or passport says: `mcp-scaled` over the images with both hands; nan where nothing was measured."""

    dataset: str
    protocol: str
    mpjpe_mm: float
    mpvpe_mm: float
    mrrpe_mm: float
    presence_accuracy: float  # share of the hands of which it is known
    n_images: int
    n_interacting: int


class Scores:
    """One predictor's figures by several protocols, and in the picture, batch after batch."""

    def __init__(self, protocols: Sequence[Protocol] = (MCP_SCALED,)) -> None:
        self.n_images = 0
        self.n_interacting = 0
        self._presence = np.zeros(2)  # right, known
        self._tallies = {protocol: Tally(protocol) for protocol in (*protocols, MCP_SCALED)}
        self.points = PointTally()

    def add(self, predicted: HandBatch, truth: Truth) -> None:
        """Count the images of a batch."""
        self.n_images += len(truth.hand_type)
        self.n_interacting += int((truth.hand_type == INTERACTING).sum())
        known = truth.presence_known
        self._presence += [((predicted.present == truth.present) & known).sum(), known.sum()]
        self.points.add(predicted, truth)
        for tally in self._tallies.values():
            tally.add(predicted, truth)

    def result(self, protocol: Protocol) -> Result:
        """Figures of a protocol that was asked for."""
        return self._tallies[protocol].result()

    def accuracy(self, dataset: str) -> Accuracy:
        """Figures by the protocol of cards and passports."""
        result = self.result(MCP_SCALED)
        return Accuracy(
            dataset=dataset,
            protocol=MCP_SCALED.name,
            mpjpe_mm=result.mpjpe_mm.interacting,
            mpvpe_mm=result.mpvpe_mm.interacting,
            mrrpe_mm=result.mrrpe_mm,
            presence_accuracy=mean_of_means(*self._presence),
            n_images=self.n_images,
            n_interacting=self.n_interacting,
        )


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
