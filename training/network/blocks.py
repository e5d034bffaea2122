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

    query (B, heads, N, d), key and value (B, heads, M, d), bias (heads, N, M) or None -> (B, heads, N, d).
    """
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if bias is not None:
        scores = scores + bias
    return scores.softmax(dim=-1) @ value


class MultiHeadAttention(nn.Module):
    """Attention of tokens (B, N, C) on a context (B, M, C); on themselves where none is given."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, context: Tensor | None = None) -> Tensor:
        key, value = self.key_value(tokens if context is None else context).chunk(2, dim=-1)
        mixed = attend(self._split(self.query(tokens)), self._split(key), self._split(value))
        return self.proj(mixed.transpose(1, 2).reshape(tokens.shape))

    def _split(self, tokens: Tensor) -> Tensor:
        batch, count, dim = tokens.shape
        return tokens.reshape(batch, count, self.heads, dim // self.heads).transpose(1, 2)


class Mlp(nn.Sequential):
    """Linear, activation, linear."""

    def __init__(self, dim: int, hidden: int, outputs: int, activation: type[nn.Module]) -> None:
        super().__init__(nn.Linear(dim, hidden), activation(), nn.Linear(hidden, outputs))


class TransformerBlock(nn.Module):
    """Pre-norm transformer block; attends to `context` where one is given, to itself otherwise."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float, activation: type[nn.Module]) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attention = MultiHeadAttention(dim, heads)
        self.norm_mlp = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), dim, activation)

    def forward(self, tokens: Tensor, context: Tensor | None = None) -> Tensor:
        tokens = tokens + self.attention(self.norm_attention(tokens), context)
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
