"""What a training step minimises, as one module: a batch goes in, the loss and the figures people read come out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.hands.layer import HandLayer
from training.losses import LossWeights, compute_losses
from training.network import ERNet, Outputs, Taps

SHOWN_TERMS = ("relative_translation", "presence")


class Supervised(nn.Module):
    """The network against the labels. `step` is the run's step, for objectives with ramps."""

    taught_by: dict[str, str] | None = None  # name and sha256 of a teacher

    def __init__(self, network: ERNet, layer: HandLayer, weights: LossWeights, bf16: bool = False) -> None:
        super().__init__()
        self.network, self.layer, self.weights, self.bf16 = network, layer, weights, bf16

    def forward(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, ...) tensors with the keys of training.data.samples.Sample -> loss (), figures by name."""
        return self.against_labels(self.look(batch["image"])[0], batch)

    def look(self, image: Tensor) -> tuple[Outputs, Taps]:
        """What the network makes of images (B, 3, S, S)."""
        image = image.contiguous(memory_format=torch.channels_last)
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.bf16):
            return self.network.forward_with_taps(image)

    def against_labels(self, outputs: Outputs, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The labels' loss () and its figures."""
        cells = (-(-batch["image"].shape[2] // 32), -(-batch["image"].shape[3] // 32))
        losses = compute_losses(outputs, batch, self.layer, cells, self.network.extract.depth_bins)
        total = losses.total(self.weights)
        figures = {"loss": total, "mesh_mm": losses.mesh_joint_mm, "image_pct": losses.image_joint_percent}
        figures |= {name: losses.terms[name] for name in SHOWN_TERMS}
        return total, {name: value.detach() for name, value in figures.items()}
