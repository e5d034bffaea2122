"""The same network for inference: products that read the same rows, and those of both hands, are one product each.

Training keeps the parts, as checkpoints, pruning and rounding know them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from training.hands import HANDS
from training.network.blocks import MultiHeadAttention
from training.network.er import ERNet
from training.network.regress import ROTATIONS, Regress


def merge(network: ERNet) -> ERNet:
    """A copy of a float network in eval mode, its parts merged."""
    merged = copy.deepcopy(network)
    extract, regress = merged.extract, merged.regress
    extract.project = _convolution(_layers(extract.project, "{}"), groups=1)
    extract.heatmap = _convolution(_layers(extract.heatmap, "{}"), groups=HANDS)
    for block in (extract.desim.block, extract.deocc.block, regress.fuseformer.block):
        with torch.no_grad():
            for parameter in block.attention.query.parameters():
                parameter.mul_(block.attention.scale)
        block.attention.scale = 1.0
    for block in (extract.desim.block, regress.fuseformer.block):
        block.attention = SelfAttention(block.attention)
    regress.pooled = _of_pooled(regress)
    del regress.hand, regress.translation
    regress.pose = MergedPose(regress.pose)
    return merged.eval()


class SelfAttention(MultiHeadAttention):
    """Query, key and value of the same rows."""

    def __init__(self, parts: MultiHeadAttention) -> None:
        super().__init__(parts.proj.in_features, parts.heads, parts.batch_first)
        layers = (parts.query, parts.key_value)
        self.query_key_values = _linear(torch.cat(_weights(layers)), torch.cat(_biases(layers)))
        self.proj = parts.proj
        del self.query, self.key_value

    def query_key_value(self, tokens: Tensor, batch: int, context: Tensor | None) -> tuple[Tensor, ...]:
        return self.heads_of(self.query_key_values(tokens), batch).split(self.heads, dim=1)


class MergedPose(nn.Module):
    """Both hands' PoseRegressor."""

    def __init__(self, parts: nn.Module) -> None:
        super().__init__()
        reduce = _layers(parts, "{}.reduce")
        self.reduce = nn.Parameter(torch.stack([weight.T for weight in _weights(reduce)]))
        self.reduce_bias = nn.Parameter(torch.stack(_biases(reduce)).unsqueeze(1))
        first, last = (_convolution(_layers(parts, f"{{}}.mlp.{i}"), HANDS) for i in (0, 2))
        self.mlp = nn.Sequential(first, parts.get_submodule("0.mlp.1"), last)

    def forward(self, tokens: Tensor, joints: Tensor) -> Tensor:
        """tokens (B, 2, 21, C), joints (B, 2, 21, 3) -> (B, 2, 16, 6)."""
        flat = torch.cat([tokens @ self.reduce + self.reduce_bias, joints], dim=-1)
        return self.mlp(flat.reshape(len(flat), -1, 1, 1)).reshape(-1, HANDS, ROTATIONS, 6)


def _of_pooled(regress: Regress) -> nn.Module:
    """Shape, camera, presence and translation by two products, with zeros where a hand does not read the other."""
    first, last = ([*_layers(regress.hand, f"{{}}.mlp.{i}"), regress.translation[i]] for i in (0, 2))
    *hands, both = _weights(first)
    return nn.Sequential(
        _linear(torch.cat([torch.block_diag(*hands), both]), torch.cat(_biases(first))),
        regress.translation[1],
        _linear(torch.block_diag(*_weights(last)), torch.cat(_biases(last))),
    )


def _convolution(layers: Sequence[nn.Module], groups: int) -> nn.Conv2d:
    """1x1 convolutions or linears side by side; what a pruning left narrower than its twin is filled up with zeros."""
    weights = [weight.flatten(1) for weight in _weights(layers)]
    rows, columns = (max(weight.shape[i] for weight in weights) for i in (0, 1))
    convolution = nn.Conv2d(groups * columns, len(layers) * rows, 1, groups=groups)
    full = [pad(weight, (0, columns - weight.shape[1], 0, rows - weight.shape[0])) for weight in weights]
    convolution.weight = nn.Parameter(torch.cat(full)[:, :, None, None])
    convolution.bias = nn.Parameter(torch.cat([pad(bias, (0, rows - len(bias))) for bias in _biases(layers)]))
    return convolution


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(*weight.shape[::-1])
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
    return layer


def _layers(parent: nn.Module, path: str) -> list[nn.Module]:
    """The layer of this path of each hand."""
    return [parent.get_submodule(path.format(hand)) for hand in range(HANDS)]


def _weights(layers: Sequence[nn.Module]) -> list[Tensor]:
    return [layer.get_parameter("weight").detach() for layer in layers]


def _biases(layers: Sequence[nn.Module]) -> list[Tensor]:
    return [layer.get_parameter("bias").detach() for layer in layers]
