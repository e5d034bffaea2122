"""The eight L1 losses of ER's training and the presence loss, with their weights, as what a training step minimises.

Units follow the lineage's public code: 3D in metres, 2.5D and projections in cells of an 8 x 8 x 8 map, so that its
weights (10 on 3D joints, 1 elsewhere) keep their meaning.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.hands.layer import HandLayer, matrix_from_6d
from training.network import ERNet, Extracted, Outputs
from training.run.parallel import mean_over_processes, world_size

DEPTH_RANGE_M = 0.4  # spanned by the depth bins, centred at the wrist
LOSS_CELLS = 8
SHOWN_TERMS = ("relative_translation", "presence")


@dataclass(frozen=True)
class LossWeights:
    """Weight of each term."""

    relative_translation: float = 1.0
    mano_pose: float = 1.0
    mano_shape: float = 1.0
    joints: float = 10.0
    mano_joints: float = 10.0
    joints_image: float = 1.0
    mano_joints_image: float = 1.0
    projected_joints: float = 1.0
    presence: float = 1.0


def compute_losses(
    outputs: Outputs, batch: dict[str, Tensor], layer: HandLayer, grid: tuple[int, int, int]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """All terms for one batch (keys of training.data.samples.Sample), unweighted, and the two figures people read.

    grid: depth bins, height, width of heat maps. Figures: mean wrist-relative error of the mesh's joints, mm; mean
    x, y error of the 2.5D joints, % of the crop.
    """
    outputs = Outputs(*(x.float() for x in outputs))
    rotations = matrix_from_6d(outputs.rotation6d)
    joints = layer(rotations, outputs.shape)[1]
    joints = joints - joints[:, :, :1]
    image_joints = normalise_joints_image(outputs.joints_image, grid)
    projected = outputs.camera[:, :, None, :1] * joints[..., :2] + outputs.camera[:, :, None, 1:]

    valid, valid_3d, fitted = batch["joint_valid"], batch["joint_valid_3d"], batch["has_mano"]
    fitted_joints = fitted[:, :, None].expand_as(valid)
    depth = batch["joints"][..., 2:] / DEPTH_RANGE_M + 0.5
    mano_depth = batch["mano_joints"][..., 2:] / DEPTH_RANGE_M + 0.5
    cross_entropy = functional.binary_cross_entropy_with_logits(outputs.presence, batch["presence"], reduction="none")
    in_plane = masked_l1(image_joints[..., :2], batch["points"], valid)
    in_depth = masked_l1(image_joints[..., 2:], depth, valid_3d)
    moved, target = outputs.relative_translation, batch["relative_translation"]
    terms = {
        "relative_translation": masked_l1(moved, target, batch["has_translation"]),
        "mano_pose": masked_l1(rotations, batch["rotations"], fitted),
        "mano_shape": masked_l1(outputs.shape, batch["shape"], fitted),
        "joints": masked_l1(joints, batch["joints"], valid_3d),
        "mano_joints": masked_l1(joints, batch["mano_joints"], fitted_joints),
        "joints_image": LOSS_CELLS * (in_plane + 0.5 * in_depth),
        "mano_joints_image": LOSS_CELLS * 0.5 * masked_l1(image_joints[..., 2:], mano_depth, fitted_joints),
        "projected_joints": LOSS_CELLS * masked_l1(projected, batch["points"], valid),
        "presence": masked_mean(cross_entropy, batch["has_presence"]),
    }
    with torch.no_grad():
        mesh = masked_mean((joints - batch["mano_joints"]).norm(dim=-1), fitted_joints)
        image = masked_mean((image_joints[..., :2] - batch["points"]).norm(dim=-1), valid)
    return terms, {"mesh_mm": 1000 * mesh, "image_pct": 100 * image}


def normalise_joints_image(cells: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """x, y in cells and z in bins -> fractions of the crop and of the depth range (the inverse of the contract's)."""
    size = torch.tensor(grid[::-1], dtype=cells.dtype, device=cells.device)
    return (cells + 0.5) / size


def masked_l1(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference where mask, of leading shape, is 1; zero where it is nowhere."""
    difference = (predicted - target).abs()
    if predicted.dim() > mask.dim():
        difference = difference.flatten(mask.dim()).mean(dim=-1)
    return masked_mean(difference, mask)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values where mask is 1; of several processes, each one's share of the mean over all."""
    return (values * mask).sum() / mean_over_processes(mask.sum()).clamp(min=1 / world_size())


class Supervised(nn.Module):
    """The network against the labels. `step` is the run's step, for objectives with ramps."""

    taught_by: dict[str, str] | None = None  # name and sha256 of a teacher

    def __init__(self, network: ERNet, layer: HandLayer, weights: LossWeights, bf16: bool = False) -> None:
        super().__init__()
        self.network, self.layer, self.weights, self.bf16 = network, layer, weights, bf16

    def forward(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, ...) tensors with the keys of training.data.samples.Sample -> loss (), figures by name."""
        outputs, extracted = self.look(batch["image"])
        return self.against_labels(outputs, extracted.grid, batch)

    def look(self, image: Tensor) -> tuple[Outputs, Extracted]:
        """What the network makes of images (B, 3, S, S), and what it saw on the way."""
        image = image.contiguous(memory_format=torch.channels_last)
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.bf16):
            extracted = self.network.extract(self.network.features(image))
            return self.network.regress(extracted), extracted

    def against_labels(
        self, outputs: Outputs, grid: tuple[int, int, int], batch: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The labels' loss () and its figures."""
        terms, errors = compute_losses(outputs, batch, self.layer, grid)
        total = torch.stack([getattr(self.weights, name) * term for name, term in terms.items()]).sum()
        figures = {"loss": total, **errors, **{name: terms[name] for name in SHOWN_TERMS}}
        return total, {name: value.detach() for name, value in figures.items()}
