"""Regress: FuseFormer over the joint tokens, then rotations, shape, camera, presence, translation (steps 6 to 8)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.network.blocks import Mlp, TransformerBlock
from training.network.extract import HANDS, JOINTS

ROTATIONS = 16
BETAS = 10
IDENTITY_6D = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
# Where regression starts: a wrist at the crop's centre, 0.25 m across the crop.
START_CAMERA = (4.0, 0.5, 0.5)


def start_at(layer: nn.Module, values: Tensor) -> None:
    """Let a regression begin at `values`: its last linear layer's bias."""
    with torch.no_grad():
        layer.get_parameter("bias").copy_(values)


class FuseFormer(nn.Module):
    """Self-attention over the 21 joint tokens of each hand; weights shared, one embedding per joint and hand."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float, activation: type[nn.Module]) -> None:
        super().__init__()
        self.joint = nn.Parameter(torch.zeros(1, HANDS, JOINTS, dim))
        self.block = TransformerBlock(dim, heads, mlp_ratio, activation)
        nn.init.trunc_normal_(self.joint, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, 2, 21, C) -> the same shape."""
        return self.block((tokens + self.joint).flatten(0, 1)).reshape(tokens.shape)


class PoseRegressor(nn.Module):
    """One hand's joint tokens and 2.5D joints -> 16 rotations in 6D."""

    def __init__(self, dim: int, token_dim: int, hidden: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.reduce = nn.Linear(dim, token_dim)
        self.mlp = Mlp(JOINTS * (token_dim + 3), hidden, ROTATIONS * 6, activation)
        start_at(self.mlp[-1], torch.tensor(IDENTITY_6D).repeat(ROTATIONS))

    def forward(self, tokens: Tensor, joints: Tensor) -> Tensor:
        """tokens (B, 21, C), joints (B, 21, 3) -> (B, 1, 16, 6)."""
        flat = torch.cat([self.reduce(tokens), joints], dim=-1).flatten(1)
        return self.mlp(flat).reshape(-1, 1, ROTATIONS, 6)


class HandRegressor(nn.Module):
    """One hand's pooled features -> shape (10), camera (3), presence logit (1)."""

    def __init__(self, dim: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.mlp = Mlp(dim, dim, BETAS + 3 + 1, activation)
        start_at(self.mlp[-1], torch.tensor([*[0.0] * BETAS, *START_CAMERA, 0.0]))

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, C) -> (B, 1, 14)."""
        return self.mlp(pooled).unsqueeze(1)
