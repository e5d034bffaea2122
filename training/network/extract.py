"""Extract (steps 2 to 5 of the ER paper): backbone features -> one map per hand with its prior, heat maps, 2.5D joints.

Small devices want few axes and few nodes. In the heat maps and joints both hands' 42 joints are one axis, the right
hand's first; maps of both hands lie side by side in the channels; tokens are rows: cell by cell, of each image, of each
hand. What both hands share is then one product, and nothing has to be moved in between.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from runtime.hand.joints import JOINT_COUNT
from training.hands import HANDS
from training.network.blocks import NORM_EPS, Mlp, TransformerBlock, resize_map


class Extracted(NamedTuple):
    """What Extract hands to Regress, and what a student can learn from inside a teacher."""

    maps: Tensor  # (B, 2, H*W, dim) each hand's features with the prior
    heatmaps: Tensor  # (B, 42, D*H*W) logits
    joints: Tensor  # (B, 42, 3) x, y in map cells, z in depth bins
    grid: tuple[int, int, int]  # D, H, W of the heat maps


class Extract(nn.Module):
    """A projection and heat maps per hand; DeSim and DeOcc add a prior (PriorFormer)."""

    def __init__(
        self, inputs: int, dim: int, depth_bins: int, heads: int, mlp_ratio: float, activation: type[nn.Module]
    ) -> None:
        super().__init__()
        self.depth_bins = depth_bins
        self.project: nn.Module = PerHand([nn.Conv2d(inputs, dim, 1) for _ in range(HANDS)])
        self.heatmap: nn.Module = PerHand([nn.Conv2d(dim, JOINT_COUNT * depth_bins, 1) for _ in range(HANDS)])
        self.desim = DeSim(dim, heads, mlp_ratio, depth_bins, activation)
        self.deocc = DeOcc(dim, heads, mlp_ratio, activation)

    def forward(self, features: Tensor) -> Extracted:
        """(B, inputs, H, W) -> Extracted."""
        batch, _, height, width = features.shape
        projected = self.project(features)
        heatmaps = self.heatmap(projected).reshape(batch, HANDS * JOINT_COUNT, -1)
        joints = soft_argmax(heatmaps, self.depth_bins, height, width)
        pairs = projected.permute(2, 3, 0, 1).reshape(height * width * batch, -1)
        pairs = pairs + self.deocc(self.desim(pairs, batch, height, width), batch)
        maps = pairs.reshape(height * width, batch, HANDS, -1).permute(1, 2, 0, 3)
        return Extracted(maps, heatmaps, joints, (self.depth_bins, height, width))


class PerHand(nn.ModuleList):
    """A layer per hand, on the same map or each on its own half of the channels; results side by side."""

    def forward(self, maps: Tensor) -> Tensor:
        shared = maps.shape[1] == self[0].in_channels
        parts = [maps] * HANDS if shared else maps.chunk(HANDS, dim=1)
        return torch.cat([layer(part) for layer, part in zip(self, parts, strict=True)], dim=1)


class DeSim(nn.Module):
    """Self-attention over one hand's tokens, then linear, norm, MLP: separates the look of the two hands."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float, map_size: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, dim, map_size, map_size))
        self.hand = nn.Parameter(torch.zeros(HANDS, 1, dim))  # tells the hands apart: all other weights are shared
        self.block = TransformerBlock(dim, heads, mlp_ratio, activation)
        self.linear = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), dim, activation)
        nn.init.trunc_normal_(self.position, std=0.02)
        nn.init.trunc_normal_(self.hand, std=0.02)

    def forward(self, pairs: Tensor, batch: int, height: int, width: int) -> Tensor:
        """(HW * B, 2C) -> the hands' tokens, (HW * B * 2, C)."""
        position = resize_map(self.position, height, width).flatten(2).permute(2, 0, 1)
        place = (position + self.hand.transpose(0, 1)).repeat(1, batch, 1)
        tokens = pairs.reshape(-1, self.linear.in_features) + place.flatten(0, 1)
        tokens = self.linear(self.block(tokens, HANDS * batch))
        return tokens + self.mlp(self.norm(tokens))


class DeOcc(nn.Module):
    """Reasons over both hands: tokens of both maps, joined by channel, attend to both hands' and a class token."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float, activation: type[nn.Module]) -> None:
        super().__init__()
        self.join = nn.Linear(HANDS * dim, dim)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.norm_context = nn.LayerNorm(dim, eps=NORM_EPS)
        self.block = TransformerBlock(dim, heads, mlp_ratio, activation)
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.part = nn.Linear(dim, HANDS * dim)
        nn.init.trunc_normal_(self.class_token, std=0.02)

    def forward(self, tokens: Tensor, batch: int) -> Tensor:
        """The hands' tokens (HW * B * 2, C) -> their priors side by side, (HW * B, 2C)."""
        dim = tokens.shape[1]
        context = tokens
        if batch > 1:  # their order is that of one image
            context = tokens.reshape(-1, batch, HANDS, dim).transpose(1, 2).reshape(-1, dim)
        context = torch.cat([self.class_token.reshape(1, dim).repeat(batch, 1), context])
        pairs = self.join(tokens.reshape(-1, HANDS * dim))
        return self.part(self.norm(self.block(pairs, batch, self.norm_context(context))))


def cell_grid(depth: int, height: int, width: int, device: torch.device | None = None) -> Tensor:
    """(D*H*W, 3) centres x, y, z of all cells; cell i's centre is i."""
    ranges = [torch.arange(size, device=device) for size in (depth, height, width)]
    z, y, x = torch.meshgrid(*ranges, indexing="ij")
    return torch.stack([x, y, z], dim=-1).reshape(-1, 3).float()


def soft_argmax(logits: Tensor, depth: int, height: int, width: int) -> Tensor:
    """Heat-map logits (B, 42, D*H*W) -> expected x, y (cells), z (bins): (B, 42, 3), as one matrix product."""
    return logits.softmax(dim=-1) @ cell_grid(depth, height, width, logits.device).to(logits)
