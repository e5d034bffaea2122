"""What a training step minimises, as one module: a batch goes in, the loss and the figures people read come out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.hands.layer import HandLayer
from training.losses import LossWeights, compute_losses
from training.network import ERNet, Extracted, Outputs

SHOWN_TERMS = ("relative_translation", "presence")


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
