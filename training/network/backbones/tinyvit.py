"""TinyViT backbone (Wu et al., ECCV 2022) with the official parameter names, so that public weights load.

Differences to the official code: no drop path, no classification head, windows cut with rank-4 reshapes only, and
a window shrinks to the map where the map is smaller (its relative offsets are a subset of the learned ones), which is
what makes training on 112 px crops cheap.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.network.blocks import NORM_EPS, ConvBN, attend, init_linear

MBCONV_EXPANSION = 4
MLP_RATIO = 4


class PatchEmbed(nn.Module):
    """Two stride-2 convolutions: (B, 3, S, S) -> (B, C, S/4, S/4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(ConvBN(3, channels // 2, 3, 2), nn.GELU(), ConvBN(channels // 2, channels, 3, 2))

    def forward(self, image: Tensor) -> Tensor:
        return self.seq(image)


class MBConv(nn.Module):
    """Inverted residual of the first stage."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels * MBCONV_EXPANSION
        self.conv1 = ConvBN(channels, hidden)
        self.conv2 = ConvBN(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvBN(hidden, channels, bn_init=0.0)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x + self.conv3(self.act(self.conv2(self.act(self.conv1(x))))))


class PatchMerging(nn.Module):
    """Halves the map between stages."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(inputs, outputs)
        self.conv2 = ConvBN(outputs, outputs, 3, 2, groups=outputs)
        self.conv3 = ConvBN(outputs, outputs)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.act(self.conv2(self.act(self.conv1(x)))))


class WindowAttention(nn.Module):
    """Self-attention inside one window with a learned bias per relative offset (|dy|, |dx|)."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))

    def forward(self, rows: Tensor, side: int) -> Tensor:
        """The windows' tokens, (windows * side^2, C), side <= the learned window -> the same shape."""
        count, dim = side * side, rows.shape[1]
        width = dim // self.heads
        qkv = self.qkv(self.norm(rows)).reshape(-1, count, self.heads, 3 * width).transpose(1, 2)
        query, key, value = qkv.split(width, dim=-1)
        bias = self.attention_biases[:, offset_index(side, self.window, rows.device)]
        mixed = attend(query * width**-0.5, key, value, bias)
        return self.proj(mixed.transpose(1, 2).reshape(-1, dim))


def offset_index(side: int, window: int, device: torch.device | None = None) -> Tensor:
    """(side^2, side^2) index of each pair's offset in the official table, whose order is that of first appearance.

    For a full square window scanned row by row from (0, 0) that order is |dy| * window + |dx|.
    """
    cells = torch.arange(side * side, device=device)
    row, column = cells // side, cells % side
    return (row[:, None] - row[None]).abs() * window + (column[:, None] - column[None]).abs()


class TokenMlp(nn.Module):
    """The MLP of a block; named as in the official code."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.fc1 = nn.Linear(dim, MLP_RATIO * dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(MLP_RATIO * dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(self.norm(tokens))))


class TinyViTBlock(nn.Module):
    """Window attention, depthwise convolution, MLP."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(dim, heads, window)
        self.local_conv = ConvBN(dim, dim, 3, groups=dim)
        self.mlp = TokenMlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C), H = W a multiple of the window or smaller than it -> the same shape."""
        batch, height, width, dim = x.shape
        side = min(self.window, height)
        if height % side or width % side:
            raise ValueError(f"a map of {height}x{width} does not divide into windows of {side}")
        down, across = height // side, width // side
        if across == 1:
            windows = self.attn(x.reshape(-1, dim), side)
        else:
            windows = x.reshape(batch * down, side, across, side * dim).transpose(1, 2)
            windows = self.attn(windows.reshape(-1, dim), side)
            windows = windows.reshape(batch * down, across, side, side * dim).transpose(1, 2)
        x = self.local_conv((x + windows.reshape(x.shape)).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        rows = x.reshape(-1, dim)
        return (rows + self.mlp(rows)).reshape(x.shape)


class Stage(nn.Module):
    """Blocks, then the merging into the next stage (the official code keeps it here); all but MBConv channels last."""

    def __init__(self, blocks: Sequence[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.downsample = downsample if downsample is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same of the next stage."""
        if isinstance(self.blocks[0], MBConv):
            return self.downsample(self.blocks(x))
        return self.downsample(self.blocks(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


class TinyViT(nn.Module):
    """(B, 3, S, S) -> (B, dims[3], S/32, S/32)."""

    def __init__(
        self,
        dims: tuple[int, int, int, int],
        heads: tuple[int, int, int, int],
        depths: tuple[int, int, int, int] = (2, 2, 6, 2),
        windows: tuple[int, int, int, int] = (7, 7, 14, 7),
    ) -> None:
        super().__init__()
        self.channels = dims[3]
        self.patch_embed = PatchEmbed(dims[0])
        stages: list[nn.Module] = []
        for i in range(4):
            blocks: list[nn.Module] = [
                MBConv(dims[0]) if i == 0 else TinyViTBlock(dims[i], heads[i], windows[i]) for _ in range(depths[i])
            ]
            stages.append(Stage(blocks, PatchMerging(dims[i], dims[i + 1]) if i < 3 else None))
        self.layers = nn.ModuleList(stages)
        self.norm_head = nn.LayerNorm(dims[3], eps=NORM_EPS)
        self.apply(init_linear)

    def forward(self, image: Tensor) -> Tensor:
        x = self.patch_embed(image)
        for stage in self.layers:
            x = stage(x)
        return self.norm_head(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
