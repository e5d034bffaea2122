"""Errors in millimetres, on numpy arrays. Joints in the project's order, hand axis [right, left].

Protocol `mcp-scaled` (P2; IntagHand, Zhang 2021): images with both hands, each hand put at its middle MCP and scaled by
the ground truth's bone wrist - middle MCP, ground truth from the hand model's mesh. The root's own zero error is left
out of the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.joints import MIDDLE_MCP, WRIST

Floats = NDArray[np.float32]
PROTOCOL = "mcp-scaled"
OTHER_JOINTS = [j for j in range(21) if j != MIDDLE_MCP]


@dataclass(frozen=True)
class HandBatch:
    """Joints and vertices of N images in metres, wrist-relative per hand, with the translation between the wrists."""

    joints: Floats  # (N, 2, 21, 3)
    vertices: Floats  # (N, 2, V, 3)
    relative_translation: Floats  # (N, 3) left wrist minus right wrist
    present: NDArray[np.bool_]  # (N, 2)


@dataclass(frozen=True)
class Accuracy:
    """Means over a set of images; nan where nothing could be measured."""

    dataset: str
    protocol: str
    mpjpe_mm: float
    mpvpe_mm: float
    mrrpe_mm: float
    presence_accuracy: float
    n_images: int
    n_interacting: int


@dataclass(frozen=True)
class Errors:
    """Errors of N images; nan on hands that are not there."""

    joint_mm: Floats  # (N, 2, 21)
    vertex_mm: Floats  # (N, 2) mean over the vertices
    translation_mm: Floats  # (N,)
    presence_correct: NDArray[np.bool_]  # (N, 2)
    interacting: NDArray[np.bool_]  # (N,)

    @staticmethod
    def concatenate(parts: list[Errors]) -> Errors:
        """The errors of several batches as one."""
        return Errors(*(np.concatenate([getattr(p, f) for p in parts]) for f in Errors.__dataclass_fields__))

    def accuracy(self, dataset: str) -> Accuracy:
        """Means by the protocol `mcp-scaled`."""
        joint, vertex = self.joint_mm[self.interacting], self.vertex_mm[self.interacting]
        return Accuracy(
            dataset=dataset,
            protocol=PROTOCOL,
            mpjpe_mm=_mean(joint[..., OTHER_JOINTS]),
            mpvpe_mm=_mean(vertex),
            mrrpe_mm=_mean(self.translation_mm[self.interacting]),
            presence_accuracy=_mean(self.presence_correct),
            n_images=len(self.joint_mm),
            n_interacting=int(self.interacting.sum()),
        )


def mcp_scaled_errors(predicted: HandBatch, truth: HandBatch) -> Errors:
    """Errors of every image by the protocol `mcp-scaled`."""
    scale = bone_length(truth.joints) / np.maximum(bone_length(predicted.joints), 1e-9)
    scale = scale[..., None, None]

    def align(points: Floats, hands: HandBatch) -> Floats:
        return points - hands.joints[:, :, MIDDLE_MCP : MIDDLE_MCP + 1]

    joints = align(predicted.joints, predicted) * scale - align(truth.joints, truth)
    vertices = align(predicted.vertices, predicted) * scale - align(truth.vertices, truth)
    there = truth.present
    return Errors(
        joint_mm=np.where(there[..., None], np.linalg.norm(joints, axis=-1) * 1000, np.nan),
        vertex_mm=np.where(there, np.linalg.norm(vertices, axis=-1).mean(axis=-1) * 1000, np.nan),
        translation_mm=np.linalg.norm(predicted.relative_translation - truth.relative_translation, axis=-1) * 1000,
        presence_correct=predicted.present == truth.present,
        interacting=np.asarray(there.all(axis=1)),
    )


def bone_length(joints: Floats) -> Floats:
    """(..., 21, 3) -> (...) length of the bone wrist - middle MCP."""
    return np.linalg.norm(joints[..., MIDDLE_MCP, :] - joints[..., WRIST, :], axis=-1)


def _mean(values: NDArray[np.floating] | NDArray[np.bool_]) -> float:
    return float(np.mean(values)) if values.size else float("nan")
