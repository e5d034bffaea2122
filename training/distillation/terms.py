"""Distillation: how far a student is from its teacher, term by term, and the objective that adds that to the labels.

Terms on hands count only the hands that the labels say are there. Which terms help is measured in RESULTS.md.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from training.distillation.teacher import Grid, Lesson, NetworkTeacher, log_marginals
from training.hands.layer import HandLayer, matrix_from_6d
from training.losses import LOSS_CELLS, LossWeights, Supervised, masked_l1, masked_mean, normalise_joints_image
from training.network import ERNet, Extracted, Outputs
from training.recipe import DistillSpec

LENGTHS = ("joints", "vertices")  # means over coordinates, m


def ramp(step: int, ramp_steps: int) -> float:
    """Factor of the distillation terms at a step: linear up to 1 at the ramp's last step."""
    return min(1.0, (step + 1) / ramp_steps) if ramp_steps else 1.0


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


def heatmap_term(
    student: Tensor, grid: Grid, plane: Tensor, depth: Tensor, visible: Tensor, temperature: float
) -> Tensor:
    """T^2 times the divergence of the student's heat maps from the teacher's, over the plane plus over depth.

    student (B, 42, D*H*W) logits; plane (B, 2, 21, h, w) and depth (B, 2, 21, d) the teacher's probabilities at
    the temperature, on its own grid; visible (B, 2, 21). T^2 keeps the gradient's size (Hinton et al. 2015).
    """
    log_plane, log_depth = log_marginals(student, grid, temperature)
    target_plane = resize_plane(plane, *log_plane.shape[-2:])
    target_depth = move_mass(depth, log_depth.shape[-1])
    plane_nats = functional.kl_div(log_plane, target_plane, reduction="none").sum(dim=(-1, -2))
    divergence = plane_nats + functional.kl_div(log_depth, target_depth, reduction="none").sum(dim=-1)
    return temperature**2 * masked_mean(divergence, visible)


class Distilled(Supervised):
    """The labels' loss plus the distance to a teacher, which is neither trained nor saved."""

    def __init__(
        self,
        network: ERNet,
        layer: HandLayer,
        weights: LossWeights,
        spec: DistillSpec,
        teacher: NetworkTeacher,
        bf16: bool = False,
    ) -> None:
        super().__init__(network, layer, weights, bf16)
        self.spec = spec
        # Not an nn.Module, so that it is no part of the state dict, of .train() or of the trained parameters.
        self.teacher = teacher
        self.taught_by = {"name": teacher.name, "sha256": teacher.sha256}

    def forward(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """As Supervised; the terms, unweighted, are among the figures as `distil_...`."""
        outputs, extracted = self.look(batch["image"])
        supervised, figures = self.against_labels(outputs, extracted.grid, batch)
        terms = self.against_teacher(outputs, extracted, self.teacher.teach(batch["image"]), batch)
        taught = torch.stack([self.spec.weights[name] * term for name, term in terms.items()]).sum()
        total = self.spec.labels * supervised + ramp(step, self.spec.ramp_steps) * taught
        for name, term in terms.items():
            in_mm = name in LENGTHS
            figures[f"distil_{name}_mm" if in_mm else f"distil_{name}"] = term.detach() * (1000 if in_mm else 1)
        return total, {**figures, "loss": total.detach()}

    def against_teacher(
        self, outputs: Outputs, extracted: Extracted, lesson: Lesson, batch: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """The terms that are on, unweighted."""
        present = batch["presence"]
        visible = batch["joint_valid"] * present[..., None]
        on, grid = self.spec.weights, extracted.grid
        terms: dict[str, Tensor] = {}
        if "joints" in on or "vertices" in on:
            own = _mesh(self.layer, outputs.rotation6d.float(), outputs.shape.float())
            target = _mesh(self.layer, lesson.rotation6d, lesson.shape)
            meshes = zip(("vertices", "joints"), own, target, strict=True)
            terms |= {name: masked_l1(a, b, present) for name, a, b in meshes if name in on}
        if "joints_image" in on:
            joints = normalise_joints_image(outputs.joints_image.float(), grid)
            terms["joints_image"] = LOSS_CELLS * masked_l1(joints, lesson.joints_image, visible)
        if "heatmap" in on:
            assert lesson.plane is not None and lesson.depth is not None
            heatmaps, temperature = extracted.heatmaps, self.spec.temperature
            terms["heatmap"] = heatmap_term(heatmaps, grid, lesson.plane, lesson.depth, visible, temperature)
        return terms


def _mesh(layer: HandLayer, rotation6d: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
    """Wrist-relative vertices (B, 2, 778, 3) and joints (B, 2, 21, 3), m."""
    vertices, joints = layer(matrix_from_6d(rotation6d), shape)
    wrist = joints[:, :, :1]
    return vertices - wrist, joints - wrist
