"""The Extract-Regress network, from image to the outputs of the graph contract (design.md)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.network.backbones.mobilenet import MobileNetV4
from training.network.backbones.resnet import ResNet50
from training.network.backbones.tinyvit import TinyViT
from training.network.blocks import Mlp, init_linear
from training.network.extract import HANDS, JOINTS, Extract, sample_weights, soft_argmax
from training.network.priorformer import PriorFormer
from training.network.regress import BETAS, FuseFormer, HandRegressor, PoseRegressor
from training.network.variants import Variant

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Outputs(NamedTuple):
    """The graph's outputs, hand axis [right, left]; field names and order are the contract's."""

    rotation6d: Tensor  # (B, 2, 16, 6) first two columns of each rotation, MANO joint order
    shape: Tensor  # (B, 2, 10) betas
    camera: Tensor  # (B, 2, 3) scale, tx, ty: wrist-relative joints (m) -> crop pixels / S
    joints_image: Tensor  # (B, 2, 21, 3) x, y in map cells, z in depth bins
    relative_translation: Tensor  # (B, 3) left wrist minus right wrist, m
    presence: Tensor  # (B, 2) logit


class Taps(NamedTuple):
    """What a student can learn from inside a teacher."""

    maps: Tensor  # (B, 2, HW, dim) each hand's features with the prior
    heatmaps: Tensor  # (B, 2, 21, D, H, W) logits


class ERNet(nn.Module):
    """Extract-Regress network of one variant: image (B, 3, S, S), RGB 0..1 -> Outputs."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        self.widths: dict[str, tuple[int, int]] = {}  # of a pruned network, see training.network.widths
        dim = variant.dim
        backbone = build_backbone(variant.backbone)
        activation = nn.ReLU if isinstance(backbone, MobileNetV4) else nn.GELU
        block = (dim, variant.heads, variant.mlp_ratio)
        self.extract = Extract(backbone.channels, dim, variant.map_size)
        self.prior = PriorFormer(*block, variant.map_size, activation)
        self.fuse = FuseFormer(*block, activation)
        self.pose = nn.ModuleList(
            [PoseRegressor(dim, variant.token_dim, variant.hidden, activation) for _ in range(HANDS)]
        )
        self.hand = nn.ModuleList([HandRegressor(dim, activation) for _ in range(HANDS)])
        self.translation = Mlp(HANDS * dim, dim, 3, activation)
        for head in (self.extract, self.prior, self.fuse):
            head.apply(init_linear)
        self.backbone = backbone
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Outputs:
        return self.forward_with_taps(image)[0]

    def forward_with_taps(self, image: Tensor) -> tuple[Outputs, Taps]:
        """The outputs, and what distillation looks at on the way."""
        features = self.backbone((image - self.mean) / self.std)
        height, width = features.shape[-2:]
        maps, logits = self.extract(features)
        joints = soft_argmax(logits, self.extract.depth_bins, height, width)

        maps = maps + self.prior(maps, height, width)

        # The joints are detached: they say where to look and are not moved by what was seen there.
        weights = sample_weights(joints.detach(), height, width)
        weights = weights.reshape(-1, HANDS, JOINTS, height * width)
        joints = joints.reshape(-1, HANDS, JOINTS, 3)
        tokens = self.fuse(weights @ maps)
        scaled = self._centred(joints, height, width)
        rotation6d = torch.cat([pose(tokens[:, i], scaled[:, i]) for i, pose in enumerate(self.pose)], dim=1)

        pooled = maps.mean(dim=2)
        hand = torch.cat([regress(pooled[:, i]) for i, regress in enumerate(self.hand)], dim=1)
        shape, camera, presence = hand.split([BETAS, 3, 1], dim=-1)
        translation = self.translation(pooled.flatten(1))
        outputs = Outputs(rotation6d, shape, camera, joints, translation, presence.squeeze(-1))
        return outputs, Taps(maps, logits.unflatten(1, (HANDS, JOINTS)).unflatten(-1, (-1, height, width)))

    def _centred(self, joints: Tensor, height: int, width: int) -> Tensor:
        """Joints (B, 2, 21, 3) in cells -> relative to their mean, in units of the half map: what a pose depends on."""
        half = torch.tensor([width / 2, height / 2, self.extract.depth_bins / 2], device=joints.device)
        return (joints - joints.mean(dim=2, keepdim=True)) / half.to(joints)


def build_backbone(name: str) -> TinyViT | MobileNetV4 | ResNet50:
    """The backbone of that name, randomly initialised."""
    match name:
        case "resnet50":
            return ResNet50()
        case "tinyvit-21m":
            return TinyViT((96, 192, 384, 576), (3, 6, 12, 18))
        case "tinyvit-11m":
            return TinyViT((64, 128, 256, 448), (2, 4, 8, 14))
        case "tinyvit-5m":
            return TinyViT((64, 128, 160, 320), (2, 4, 5, 10))
        case "mobilenetv4-s":
            return MobileNetV4()
        case "mobilenetv4-nano":
            return MobileNetV4(width=0.7, channels=256)
    raise ValueError(f"no backbone is called {name!r}")
