"""Blocks shared by the backbones and the head. Every tensor has rank 4 or less, for small devices."""

from __future__ import annotations

import torch
from torch import Tensor, nn

NORM_EPS = 1e-4  # 1e-5 is subnormal in fp16 and rounds badly; 1e-4 is not


class ConvBN(nn.Sequential):
    """Convolution without bias + batch norm, children named `c` and `bn` as in the official TinyViT."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, bn_init: float = 1.0
    ) -> None:
        super().__init__()
        self.add_module("c", nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False))
        norm = nn.BatchNorm2d(outputs)
        nn.init.constant_(norm.weight, bn_init)
        self.add_module("bn", norm)


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """Attention products, written out so that the exported graph has plain MatMul and Softmax.

    query (B, heads, N, d), scaled, key and value (B, heads, M, d), bias (heads, N, M) or None -> (B, heads, N, d).
    """
    scores = query @ key.transpose(-2, -1)
    if bias is not None:
        scores = scores + bias
    return scores.softmax(dim=-1) @ value


class MultiHeadAttention(nn.Module):
    """Attention of tokens on a context of other tokens; on themselves where none is given.

    Tokens are rows, (N * B, C), as linear layers like them: one after the other, of all B members of a batch each, or
    member after member where `batch_first`.
    """

    def __init__(self, dim: int, heads: int, batch_first: bool = False) -> None:
        super().__init__()
        self.heads, self.batch_first, self.scale = heads, batch_first, (dim // heads) ** -0.5
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, batch: int, context: Tensor | None = None) -> Tensor:
        mixed = attend(*self.query_key_value(tokens, batch, context))
        order = (0, 2, 1, 3) if self.batch_first else (2, 0, 1, 3)
        return self.proj(mixed.permute(order).reshape(tokens.shape))

    def query_key_value(self, tokens: Tensor, batch: int, context: Tensor | None) -> tuple[Tensor, ...]:
        """Three times (B, heads, N, d)."""
        query = self.heads_of(self.query(tokens), batch)
        if self.scale != 1:
            query = query * self.scale
        key_value = self.heads_of(self.key_value(tokens if context is None else context), batch)
        return query, *key_value.split(self.heads, dim=1)

    def heads_of(self, rows: Tensor, batch: int) -> Tensor:
        """Rows of one or more tokens' widths side by side -> (B, widths * heads, N, d)."""
        width = self.proj.in_features // self.heads
        if self.batch_first:
            return rows.reshape(batch, -1, rows.shape[1] // width, width).transpose(1, 2)
        return rows.reshape(-1, batch, rows.shape[1] // width, width).permute(1, 2, 0, 3)


class Mlp(nn.Sequential):
    """Linear, activation, linear."""

    def __init__(self, dim: int, hidden: int, outputs: int, activation: type[nn.Module]) -> None:
        super().__init__(nn.Linear(dim, hidden), activation(), nn.Linear(hidden, outputs))


class TransformerBlock(nn.Module):
    """Pre-norm transformer block of rows (see MultiHeadAttention)."""

    def __init__(
        self, dim: int, heads: int, mlp_ratio: float, activation: type[nn.Module], batch_first: bool = False
    ) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attention = MultiHeadAttention(dim, heads, batch_first)
        self.norm_mlp = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), dim, activation)

    def forward(self, tokens: Tensor, batch: int, context: Tensor | None = None) -> Tensor:
        tokens = tokens + self.attention(self.norm_attention(tokens), batch, context)
        return tokens + self.mlp(self.norm_mlp(tokens))


def init_linear(module: nn.Module) -> None:
    """Truncated normal of 0.02 for linear layers, as in the ViT family."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def resize_map(grid: Tensor, height: int, width: int) -> Tensor:
    """A learned (1, C, H, W) grid at another map size; at its own size no node enters the graph."""
    if grid.shape[-2:] == (height, width):
        return grid
    return torch.nn.functional.interpolate(grid, (height, width), mode="bilinear", align_corners=False)
