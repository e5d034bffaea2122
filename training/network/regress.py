"""Regress (steps 6 to 9 of the ER paper, but the hand model): joint tokens and maps -> the outputs of the contract."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from runtime.hand.joints import JOINT_COUNT
from training.hands import HANDS
from training.network.blocks import Mlp, TransformerBlock
from training.network.extract import Extracted, cell_grid

ROTATIONS = 16
BETAS = 10
HAND_NUMBERS = BETAS + 3 + 1  # shape, camera, presence
IDENTITY_6D = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
# Where regression starts: a wrist at the crop's centre, 0.25 m across the crop.
START_CAMERA = (4.0, 0.5, 0.5)


class Outputs(NamedTuple):
    """The graph's outputs, hand axis [right, left]; field names and order are the contract's."""

    rotation6d: Tensor  # (B, 2, 16, 6) first two columns of each rotation, MANO joint order
    shape: Tensor  # (B, 2, 10) betas
    camera: Tensor  # (B, 2, 3) scale, tx, ty: wrist-relative joints (m) -> crop pixels / S
    joints_image: Tensor  # (B, 2, 21, 3) x, y in map cells, z in depth bins
    relative_translation: Tensor  # (B, 3) left wrist minus right wrist, m
    presence: Tensor  # (B, 2) logit


class Regress(nn.Module):
    """FuseFormer and the heads."""

    def __init__(
        self, dim: int, heads: int, mlp_ratio: float, token_dim: int, hidden: int, activation: type[nn.Module]
    ) -> None:
        super().__init__()
        self.fuseformer = FuseFormer(dim, heads, mlp_ratio, activation)
        self.pose: nn.Module = PoseRegressors([PoseRegressor(dim, token_dim, hidden, activation) for _ in range(HANDS)])
        self.hand = nn.ModuleList([HandRegressor(dim, activation) for _ in range(HANDS)])
        self.translation = Mlp(HANDS * dim, dim, 3, activation)
        self.pooled: nn.Module | None = None  # in place of `hand` and `translation` (merged.py)

    def forward(self, extracted: Extracted) -> Outputs:
        """Extracted -> Outputs."""
        maps, _, joints, (depth, height, width) = extracted
        # Detached, as in ER: the joints say where to look, and are not moved by what was seen there.
        seen = joints.detach()
        weights = sample_weights(seen, height, width).reshape(-1, HANDS, JOINT_COUNT, height * width)
        tokens = self.fuseformer(weights @ maps)
        joints = joints.reshape(-1, HANDS, JOINT_COUNT, 3)
        rotation6d = self.pose(tokens, centred(joints.detach(), depth, height, width))

        numbers = self._of_pooled(maps.mean(dim=2).flatten(1))
        hands, translation = numbers.split([HANDS * HAND_NUMBERS, 3], dim=1)
        shape, camera, presence = hands.reshape(-1, HANDS, HAND_NUMBERS).split([BETAS, 3, 1], dim=-1)
        return Outputs(rotation6d, shape, camera, joints, translation, presence.squeeze(-1))

    def _of_pooled(self, pooled: Tensor) -> Tensor:
        """(B, 2C) -> each hand's numbers, then the translation: (B, 31)."""
        if self.pooled is not None:
            return self.pooled(pooled)
        hands = [regress(part) for regress, part in zip(self.hand, pooled.chunk(HANDS, dim=1), strict=True)]
        return torch.cat([*hands, self.translation(pooled)], dim=1)


class FuseFormer(nn.Module):
    """Self-attention over the 21 joint tokens of each hand; weights shared, one embedding per joint and hand."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float, activation: type[nn.Module]) -> None:
        super().__init__()
        self.joint = nn.Parameter(torch.zeros(1, HANDS, JOINT_COUNT, dim))
        self.block = TransformerBlock(dim, heads, mlp_ratio, activation, batch_first=True)
        nn.init.trunc_normal_(self.joint, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, 2, 21, C) -> the same shape."""
        rows = (tokens + self.joint).flatten(0, 2)
        return self.block(rows, tokens.shape[0] * HANDS).reshape(tokens.shape)


class PoseRegressors(nn.ModuleList):
    """One for each hand."""

    def forward(self, tokens: Tensor, joints: Tensor) -> Tensor:
        """tokens (B, 2, 21, C), joints (B, 2, 21, 3) -> (B, 2, 16, 6)."""
        return torch.cat([pose(tokens[:, i], joints[:, i]) for i, pose in enumerate(self)], dim=1)


class PoseRegressor(nn.Module):
    """One hand's joint tokens and 2.5D joints -> 16 rotations in 6D."""

    def __init__(self, dim: int, token_dim: int, hidden: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.reduce = nn.Linear(dim, token_dim)
        self.mlp = Mlp(JOINT_COUNT * (token_dim + 3), hidden, ROTATIONS * 6, activation)
        start_at(self.mlp[-1], torch.tensor(IDENTITY_6D).repeat(ROTATIONS))

    def forward(self, tokens: Tensor, joints: Tensor) -> Tensor:
        """tokens (B, 21, C), joints (B, 21, 3) -> (B, 1, 16, 6)."""
        flat = torch.cat([self.reduce(tokens), joints], dim=-1).flatten(1)
        return self.mlp(flat).reshape(-1, 1, ROTATIONS, 6)


class HandRegressor(nn.Module):
    """One hand's pooled features -> shape (10), camera (3), presence logit (1)."""

    def __init__(self, dim: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.mlp = Mlp(dim, dim, HAND_NUMBERS, activation)
        start_at(self.mlp[-1], torch.tensor([*[0.0] * BETAS, *START_CAMERA, 0.0]))

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, C) -> (B, 14)."""
        return self.mlp(pooled)


def start_at(layer: nn.Module, values: Tensor) -> None:
    """Let a regression begin at `values`: its last linear layer's bias."""
    with torch.no_grad():
        layer.get_parameter("bias").copy_(values)


def sample_weights(joints: Tensor, height: int, width: int) -> Tensor:
    """Bilinear weights (B, 42, H*W) of every cell at x, y of joints (B, 42, >=2).

    Products of hat functions relu(1 - |x - i|): the numbers of grid_sample with zero padding, without GridSample.
    """
    cells = cell_grid(1, height, width, joints.device).to(joints)[:, :2].T.flatten()
    # One product spreads a joint's x and y over all cells' columns and rows.
    axes = torch.tensor(((1.0, 0.0), (0.0, 1.0), (0.0, 0.0))[: joints.shape[-1]], device=joints.device).to(joints)
    spread = axes.unsqueeze(-1).expand(-1, -1, height * width).flatten(1)
    near = torch.relu(1 - (joints @ spread - cells).abs())
    across, down = near.split(height * width, dim=-1)
    return across * down


def centred(joints: Tensor, depth: int, height: int, width: int) -> Tensor:
    """Joints (B, 2, 21, 3) in cells -> relative to their mean, in units of the half map: what a pose depends on."""
    half = torch.tensor([width / 2, height / 2, depth / 2], device=joints.device)
    return (joints - joints.mean(dim=2, keepdim=True)) / half.to(joints)
