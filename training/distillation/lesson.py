"""What a teacher says of a batch, in units that no longer depend on the teacher's map or depth bins."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from training.losses import normalise_joints_image
from training.network import Outputs

HANDS, JOINTS = 2, 21


class Lesson(NamedTuple):
    """A teacher's outputs; hand axis [right, left]. None: this teacher does not give it, or was not asked for it."""

    rotation6d: Tensor  # (B, 2, 16, 6)
    shape: Tensor  # (B, 2, 10) betas
    joints_image: Tensor  # (B, 2, 21, 3) x, y as fractions of the crop, z of the depth range
    relative_translation: Tensor  # (B, 3) m
    presence: Tensor  # (B, 2) logit
    plane: Tensor | None = None  # (B, 2, 21, h, w) probability of each cell at the temperature
    depth: Tensor | None = None  # (B, 2, 21, d) probability of each depth bin at the temperature
    maps: Tensor | None = None  # (B, 2, h, w, C) each hand's features with the prior


def lesson_of_outputs(outputs: Outputs, map_size: tuple[int, int], depth_bins: int) -> Lesson:
    """The output level; map_size is (height, width) of the teacher's heat map."""
    outputs = Outputs(*(value.float() for value in outputs))
    return Lesson(
        rotation6d=outputs.rotation6d,
        shape=outputs.shape,
        joints_image=normalise_joints_image(outputs.joints_image, map_size, depth_bins),
        relative_translation=outputs.relative_translation,
        presence=outputs.presence,
    )


def stored_shapes(map_size: tuple[int, int], depth_bins: int, heatmaps: bool) -> dict[str, tuple[int, ...]]:
    """Shapes, without the batch, of what a store keeps of a lesson: everything but the feature maps."""
    shapes: dict[str, tuple[int, ...]] = {
        "rotation6d": (HANDS, 16, 6),
        "shape": (HANDS, 10),
        "joints_image": (HANDS, JOINTS, 3),
        "relative_translation": (3,),
        "presence": (HANDS,),
    }
    if heatmaps:
        shapes |= {"plane": (HANDS, JOINTS, *map_size), "depth": (HANDS, JOINTS, depth_bins)}
    return shapes


def log_marginals(heatmaps: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Heat-map logits (..., D, H, W) -> log probabilities of the cells (..., H, W) and of the depth bins (..., D)."""
    logits = heatmaps.float() / temperature
    joint = logits.flatten(-3).log_softmax(dim=-1).reshape(logits.shape)
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


def resize_maps(maps: Tensor, height: int, width: int) -> Tensor:
    """Features (B, 2, h, w, C) -> tokens (B, 2, height * width, C), bilinear; (h, w) = (height, width) is untouched."""
    if maps.shape[2:4] == (height, width):
        return maps.flatten(2, 3)
    images = maps.flatten(0, 1).permute(0, 3, 1, 2)
    resized = functional.interpolate(images, (height, width), mode="bilinear", align_corners=False)
    return resized.flatten(2).transpose(1, 2).unflatten(0, (-1, HANDS))
