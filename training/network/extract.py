"""Extract: backbone features -> one map per hand, heat maps, 2.5D joints (steps 2 and 3 of the ER paper's figure)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

HANDS = 2
JOINTS = 21


class Extract(nn.Module):
    """Two 1x1 projections of the backbone's map, and from each a heat map of 21 joints x D depth bins."""

    def __init__(self, inputs: int, dim: int, depth_bins: int) -> None:
        super().__init__()
        self.depth_bins = depth_bins
        self.project = nn.ModuleList([nn.Conv2d(inputs, dim, 1) for _ in range(HANDS)])
        self.heatmap = nn.ModuleList([nn.Conv2d(dim, JOINTS * depth_bins, 1) for _ in range(HANDS)])

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, inputs, H, W) -> hand maps (B, 2, HW, dim), heat-map logits (B, 42, D*H*W)."""
        batch = features.shape[0]
        maps = [project(features) for project in self.project]
        logits = [heatmap(x).reshape(batch, JOINTS, -1) for heatmap, x in zip(self.heatmap, maps, strict=True)]
        tokens = [x.flatten(2).transpose(1, 2) for x in maps]
        return torch.stack(tokens, dim=1), torch.cat(logits, dim=1)


def cell_grid(depth: int, height: int, width: int) -> Tensor:
    """(D*H*W, 3) centres x, y, z of all cells; cell i's centre is i."""
    z, y, x = torch.meshgrid(torch.arange(depth), torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y, z], dim=-1).reshape(-1, 3).float()


def soft_argmax(logits: Tensor, depth: int, height: int, width: int) -> Tensor:
    """Heat-map logits (B, 42, D*H*W) -> expected x, y (cells), z (bins): (B, 42, 3), as one matrix product."""
    return logits.softmax(dim=-1) @ cell_grid(depth, height, width).to(logits)


def sample_weights(joints: Tensor, height: int, width: int) -> Tensor:
    """Bilinear weights (B, 42, H*W) of every cell at x, y of joints (B, 42, >=2).

    Products of hat functions relu(1 - |x - i|): the numbers of grid_sample with zero padding, without GridSample.
    """
    columns = torch.arange(width, dtype=joints.dtype, device=joints.device)
    rows = torch.arange(height, dtype=joints.dtype, device=joints.device)
    across = torch.relu(1 - (joints[..., 0:1] - columns).abs())
    down = torch.relu(1 - (joints[..., 1:2] - rows).abs())
    return (down.unsqueeze(-1) * across.unsqueeze(-2)).flatten(2)
