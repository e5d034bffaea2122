"""What a teacher says of a batch, in units that no longer depend on the teacher's map or depth bins."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from runtime.hand.joints import JOINT_COUNT
from training.hands import HANDS
from training.losses import normalise_joints_image
from training.network import Outputs

Grid = tuple[int, int, int]  # depth bins, height and width of heat maps


class Lesson(NamedTuple):
    """A teacher's outputs; hand axis [right, left]. None: this teacher does not give it, or was not asked for it."""

    rotation6d: Tensor  # (B, 2, 16, 6)
    shape: Tensor  # (B, 2, 10) betas
    joints_image: Tensor  # (B, 2, 21, 3) x, y as fractions of the crop, z of the depth range
    plane: Tensor | None = None  # (B, 2, 21, h, w) probability of each cell at the temperature
    depth: Tensor | None = None  # (B, 2, 21, d) probability of each depth bin at the temperature


def lesson_of_outputs(outputs: Outputs, grid: Grid) -> Lesson:
    """What a teacher's outputs teach; `grid` is of its heat map."""
    joints = normalise_joints_image(outputs.joints_image.float(), grid)
    return Lesson(outputs.rotation6d.float(), outputs.shape.float(), joints)


def stored_shapes(grid: Grid, heatmaps: bool) -> dict[str, tuple[int, ...]]:
    """Shapes, without the batch, of what a store keeps of a lesson."""
    shapes: dict[str, tuple[int, ...]] = {
        "rotation6d": (HANDS, 16, 6),
        "shape": (HANDS, 10),
        "joints_image": (HANDS, JOINT_COUNT, 3),
    }
    if heatmaps:
        shapes |= {"plane": (HANDS, JOINT_COUNT, *grid[1:]), "depth": (HANDS, JOINT_COUNT, grid[0])}
    return shapes


def log_marginals(heatmaps: Tensor, grid: Grid, temperature: float) -> tuple[Tensor, Tensor]:
    """Heat-map logits (B, 42, D*H*W) -> log probabilities of cells (B, 2, 21, H, W) and depth bins (B, 2, 21, D)."""
    logits = heatmaps.float().unflatten(1, (HANDS, JOINT_COUNT)) / temperature
    joint = logits.log_softmax(dim=-1).unflatten(-1, grid)
    return joint.logsumexp(dim=-3), joint.flatten(-2).logsumexp(dim=-1)


def move_mass(probability: Tensor, bins: int) -> Tensor:
    """A distribution over bins along the last axis (..., n) -> (..., bins) over the same range.

    Every bin's mass goes to the two nearest new bins in proportion, so that the mean, which the soft-argmax reads,
    stays where it was (beyond the outermost new centres it cannot).
    """
    count = probability.shape[-1]
    if count == bins:
        return probability
    old, new = (torch.arange(n, dtype=probability.dtype, device=probability.device) for n in (count, bins))
    place = ((old + 0.5) * (bins / count) - 0.5).clamp(0, bins - 1)
    return probability @ torch.relu(1 - (place[:, None] - new).abs())


def resize_plane(plane: Tensor, height: int, width: int) -> Tensor:
    """Cell probabilities (..., h, w) -> (..., height, width)."""
    rows = move_mass(plane.transpose(-1, -2), height).transpose(-1, -2)
    return move_mass(rows, width)
