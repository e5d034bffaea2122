"""Distillation: how far a student is from its teacher, term by term, and the objective that adds that to the labels.

Terms on hands count only the hands that the labels say are there. Lengths are in metres, as in training.losses.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.distillation.lesson import Lesson, log_marginals, move_mass, resize_maps, resize_plane
from training.distillation.spec import LENGTHS, DistillSpec
from training.distillation.teacher import Teacher
from training.hands.layer import HandLayer
from training.hands.rotations_torch import matrix_from_6d
from training.losses import LOSS_CELLS, LossWeights, masked_l1, masked_mean, normalise_joints_image
from training.network import ERNet, Outputs, Taps
from training.objective import Supervised

TINY_ANGLE = 1e-4  # rad; below it the geodesic distance is smoothed


def ramp(step: int, ramp_steps: int) -> float:
    """Factor of the distillation terms at a step: linear up to 1 at the ramp's last step."""
    return min(1.0, (step + 1) / ramp_steps) if ramp_steps else 1.0


def geodesic(first: Tensor, second: Tensor) -> Tensor:
    """Angle between rotations (..., 3, 3): (...), rad.

    From sine and cosine, as the arc cosine's gradient is infinite at 0 and pi; the sine is smoothed below TINY_ANGLE.
    """
    between = first.transpose(-1, -2) @ second
    axis = torch.stack(
        [
            between[..., 2, 1] - between[..., 1, 2],
            between[..., 0, 2] - between[..., 2, 0],
            between[..., 1, 0] - between[..., 0, 1],
        ],
        dim=-1,
    )
    sine = ((axis / 2).square().sum(dim=-1) + TINY_ANGLE**2).sqrt()
    cosine = (between.diagonal(dim1=-2, dim2=-1).sum(dim=-1) - 1) / 2
    return torch.atan2(sine, cosine)


def rotation_term(student: Tensor, teacher: Tensor, present: Tensor) -> Tensor:
    """Mean angle (rad) between rotations (B, 2, 16, 3, 3) of hands that are there (B, 2)."""
    return masked_mean(geodesic(student, teacher).mean(dim=-1), present)


def presence_term(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of presence from logits (B, 2), of all hands: 0 where they agree."""
    target = teacher.sigmoid()
    cross = functional.binary_cross_entropy_with_logits(student, target)
    return cross - functional.binary_cross_entropy_with_logits(teacher, target)


def heatmap_term(student: Tensor, plane: Tensor, depth: Tensor, visible: Tensor, temperature: float) -> Tensor:
    """T^2 times the divergence of the student's heat maps from the teacher's, over the plane plus over depth.

    student (B, 2, 21, D, H, W) logits; plane (B, 2, 21, h, w) and depth (B, 2, 21, d) the teacher's probabilities at
    the temperature, on its own grid; visible (B, 2, 21). T^2 keeps the gradient's size (Hinton et al. 2015).
    """
    log_plane, log_depth = log_marginals(student, temperature)
    target_plane = resize_plane(plane, *log_plane.shape[-2:])
    target_depth = move_mass(depth, log_depth.shape[-1])
    divergence = _divergence(target_plane, log_plane).sum(dim=(-1, -2)) + _divergence(target_depth, log_depth).sum(-1)
    return temperature**2 * masked_mean(divergence, visible)


def feature_term(projected: Tensor, teacher: Tensor, present: Tensor) -> Tensor:
    """Mean squared difference of projected student tokens and normalised teacher tokens (B, 2, N, C); present (B, 2).

    Hints of FitNets (Romero et al. 2015); normalised over C, so that one weight suits every teacher.
    """
    target = functional.layer_norm(teacher, teacher.shape[-1:])
    return masked_mean((projected - target).square().mean(dim=(-1, -2)), present)


def relational_term(student: Tensor, teacher: Tensor, present: Tensor) -> Tensor:
    """Mean squared difference of the cosines between all pairs of a map's tokens (B, 2, N, C); present (B, 2).

    The pair-wise term of Liu et al., "Structured Knowledge Distillation", CVPR 2019. Its pairs lie within an image, so
    unlike pairs of images (Park et al., RKD, CVPR 2019) they do not depend on how a batch is shared among processes;
    and the widths of student and teacher may differ.
    """
    cosines = [functional.normalize(tokens, dim=-1, eps=1e-6) for tokens in (student, teacher)]
    pairs = [tokens @ tokens.transpose(-1, -2) for tokens in cosines]
    return masked_mean((pairs[0] - pairs[1]).square().mean(dim=(-1, -2)), present)


class Distilled(Supervised):
    """The labels' loss plus the distance to a teacher.

    The 1x1 projection of the feature term is trained and saved with the student; the teacher is neither.
    """

    def __init__(
        self,
        network: ERNet,
        layer: HandLayer,
        weights: LossWeights,
        spec: DistillSpec,
        teacher: Teacher,
        bf16: bool = False,
    ) -> None:
        super().__init__(network, layer, weights, bf16)
        self.spec = spec
        # Not an nn.Module, so that it is no part of the state dict, of .train() or of the trained parameters.
        self.teacher = teacher
        self.taught_by = {"name": teacher.name, "sha256": teacher.sha256}
        if spec.features:
            if teacher.dim is None:
                raise ValueError("this teacher has no feature maps")
            self.project = nn.Linear(network.variant.dim, teacher.dim)

    def forward(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """As Supervised; the terms, unweighted, are among the figures as `distil_...`."""
        outputs, taps = self.look(batch["image"])
        supervised, figures = self.against_labels(outputs, batch)
        terms = self.against_teacher(outputs, taps, self.teacher.teach(batch), batch)
        taught = torch.stack([self.spec.weights[name] * term for name, term in terms.items()]).sum()
        total = self.spec.labels * supervised + ramp(step, self.spec.ramp_steps) * taught
        for name, term in terms.items():
            in_mm = name in LENGTHS
            figures[f"distil_{name}_mm" if in_mm else f"distil_{name}"] = term.detach() * (1000 if in_mm else 1)
        return total, {**figures, "loss": total.detach()}

    def against_teacher(
        self, outputs: Outputs, taps: Taps, lesson: Lesson, batch: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """The terms that are on, unweighted."""
        outputs = Outputs(*(value.float() for value in outputs))
        present = batch["presence"]
        visible = batch["joint_valid"] * present[..., None]
        on = self.spec.weights
        terms = self._mesh_terms(outputs, lesson, present)
        if "relative_translation" in on:
            own, target = outputs.relative_translation, lesson.relative_translation
            terms["relative_translation"] = masked_l1(own, target, present.prod(dim=1))
        if "joints_image" in on:
            height, width = taps.heatmaps.shape[-2:]
            joints = normalise_joints_image(outputs.joints_image, (height, width), self.network.extract.depth_bins)
            terms["joints_image"] = LOSS_CELLS * masked_l1(joints, lesson.joints_image, visible)
        if "presence" in on:
            terms["presence"] = presence_term(outputs.presence, lesson.presence)
        if "heatmap" in on:
            if lesson.plane is None or lesson.depth is None:
                raise ValueError("this teacher has no heat maps")
            terms["heatmap"] = heatmap_term(taps.heatmaps, lesson.plane, lesson.depth, visible, self.spec.temperature)
        return terms | self._map_terms(taps, lesson, present)

    def _mesh_terms(self, outputs: Outputs, lesson: Lesson, present: Tensor) -> dict[str, Tensor]:
        on = self.spec.weights
        terms: dict[str, Tensor] = {}
        if not {"joints", "vertices", "rotations"} & set(on):
            return terms
        own, target = matrix_from_6d(outputs.rotation6d), matrix_from_6d(lesson.rotation6d)
        if "rotations" in on:
            terms["rotations"] = rotation_term(own, target, present)
        if {"joints", "vertices"} & set(on):
            meshes = zip(_mesh(self.layer, own, outputs.shape), _mesh(self.layer, target, lesson.shape), strict=True)
            for name, pair in zip(("vertices", "joints"), meshes, strict=True):
                if name in on:
                    terms[name] = masked_l1(*pair, present)
        return terms

    def _map_terms(self, taps: Taps, lesson: Lesson, present: Tensor) -> dict[str, Tensor]:
        on = self.spec.weights
        terms: dict[str, Tensor] = {}
        if not {"features", "relational"} & set(on):
            return terms
        if lesson.maps is None:
            raise ValueError("this teacher has no feature maps")
        height, width = taps.heatmaps.shape[-2:]
        own, target = taps.maps.float(), resize_maps(lesson.maps, height, width)
        if "features" in on:
            terms["features"] = feature_term(self.project(own), target, present)
        if "relational" in on:
            terms["relational"] = relational_term(own, target, present)
        return terms


def _mesh(layer: HandLayer, rotations: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
    """Wrist-relative vertices (B, 2, 778, 3) and joints (B, 2, 21, 3), m."""
    vertices, joints = layer(rotations, shape)
    wrist = joints[:, :, :1]
    return vertices - wrist, joints - wrist


def _divergence(target: Tensor, log_probability: Tensor) -> Tensor:
    """Summands of the Kullback-Leibler divergence; nothing where the target is 0."""
    return torch.xlogy(target, target) - target * log_probability
