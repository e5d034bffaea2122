"""PriorFormer: DeSim separates the look of the two hands, DeOcc reasons over both and gives a prior per hand (step 4).

Weights are shared between the hands and a learned embedding tells them apart: half the parameters, and one matrix
product of twice the rows instead of two, which small devices run faster.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.network.blocks import NORM_EPS, Mlp, TransformerBlock, resize_map
from training.network.extract import HANDS


class DeSim(nn.Module):
    """Self-attention over one hand's tokens, then linear, norm, MLP."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float, map_size: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, dim, map_size, map_size))
        self.hand = nn.Parameter(torch.zeros(HANDS, 1, dim))
        self.block = TransformerBlock(dim, heads, mlp_ratio, activation)
        self.linear = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), dim, activation)
        nn.init.trunc_normal_(self.position, std=0.02)
        nn.init.trunc_normal_(self.hand, std=0.02)

    def forward(self, maps: Tensor, height: int, width: int) -> Tensor:
        """(B, 2, HW, C) -> the same shape."""
        position = resize_map(self.position, height, width).flatten(2).transpose(1, 2)
        tokens = (maps + (position + self.hand)).flatten(0, 1)
        tokens = self.linear(self.block(tokens))
        return (tokens + self.mlp(self.norm(tokens))).reshape(maps.shape)


class DeOcc(nn.Module):
    """Joint tokens, from both maps concatenated channel-wise, attend to both hands' tokens and a class token."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float, activation: type[nn.Module]) -> None:
        super().__init__()
        self.join = nn.Linear(HANDS * dim, dim)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.norm_context = nn.LayerNorm(dim, eps=NORM_EPS)
        self.block = TransformerBlock(dim, heads, mlp_ratio, activation)
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.part = nn.Linear(dim, HANDS * dim)
        nn.init.trunc_normal_(self.class_token, std=0.02)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, 2, HW, C) -> a prior per hand of the same shape."""
        batch, hands, cells, dim = maps.shape
        pair = maps.transpose(1, 2).reshape(batch, cells, hands * dim)
        context = torch.cat([self.class_token.expand(batch, -1, -1), maps.flatten(1, 2)], dim=1)
        prior = self.part(self.norm(self.block(self.join(pair), self.norm_context(context))))
        return prior.reshape(batch, cells, hands, dim).transpose(1, 2)


class PriorFormer(nn.Module):
    """DeSim, then DeOcc: (B, 2, HW, C) -> prior (B, 2, HW, C)."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float, map_size: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.desim = DeSim(dim, heads, mlp_ratio, map_size, activation)
        self.deocc = DeOcc(dim, heads, mlp_ratio, activation)

    def forward(self, maps: Tensor, height: int, width: int) -> Tensor:
        return self.deocc(self.desim(maps, height, width))
