"""ER, the Extract-Regress network: image -> outputs of the graph contract. FIDELITY.md compares it with the paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from training.network.backbones import build_backbone
from training.network.backbones.mobilenet import MobileNetV4
from training.network.blocks import init_linear
from training.network.extract import Extract
from training.network.regress import Outputs, Regress
from training.network.variants import Variant
from training.network.widths import narrow

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ERNet(nn.Module):
    """The network of one variant: image (B, 3, S, S), RGB 0..1 -> Outputs."""

    mean: Tensor  # (1, 3, 1, 1) of the image's channels
    std: Tensor

    def __init__(self, variant: Variant, widths: Mapping[str, Any] | None = None) -> None:
        """Build with random weights; ValueError for widths (of a pruned network) that do not fit it."""
        super().__init__()
        self.variant = variant
        dim, block = variant.dim, (variant.heads, variant.mlp_ratio)
        self.backbone = build_backbone(variant.backbone)
        activation = nn.ReLU if isinstance(self.backbone, MobileNetV4) else nn.GELU
        self.extract = Extract(self.backbone.channels, dim, variant.map_size, *block, activation)
        self.regress = Regress(dim, *block, variant.token_dim, variant.hidden, activation)
        for former in (self.extract, self.regress.fuseformer):
            former.apply(init_linear)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).reshape(1, 3, 1, 1), persistent=False)
        self.widths = narrow(self, {} if widths is None else widths)

    def forward(self, image: Tensor) -> Outputs:
        return self.regress(self.extract(self.features(image)))

    def features(self, image: Tensor) -> Tensor:
        """The backbone's map (B, channels, S/32, S/32)."""
        return self.backbone((image - self.mean) / self.std)
