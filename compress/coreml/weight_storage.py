"""How a package stores its weights: the rounding in numpy, and coremltools' compression that keeps exactly that.

The network is rounded first, so that a torch network with the package's numbers exists to compare with; compressing a
rounded network loses nothing more. What is rounded: kernels and matrices of convolutions and linears, norms folded in.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compress.coreml import coremltools, quiet

if TYPE_CHECKING:
    from training.network import ERNet

Matrix = NDArray[np.float32]  # (outputs, ...)

MIN_ELEMENTS = 2048  # smaller weights stay fp16, coremltools' own limit
INT8_MAX = 127


def round_fp16(weight: Matrix) -> Matrix:
    """Round to the nearest fp16 number."""
    return weight.astype(np.float16).astype(np.float32)


def round_w8(weight: Matrix) -> Matrix:
    """Round to symmetric int8 per output: at most 127 multiples of an fp16 scale, stored as fp16 when unfolded."""
    largest: Matrix = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    steps_max = np.float32(INT8_MAX)
    scale = round_fp16(largest / steps_max)
    scale = round_fp16(round_fp16(scale * steps_max) / steps_max)  # the scale that is found again in the rounded weight
    scale = scale.reshape(-1, *[1] * (weight.ndim - 1))
    steps = np.divide(weight, scale, out=np.zeros_like(weight), where=scale > 0)
    return round_fp16(np.clip(np.rint(steps), -INT8_MAX, INT8_MAX) * scale)


# By the name of the weight format: of large weights, after which fp16 takes nothing more.
ROUNDINGS: dict[str, Callable[[Matrix], Matrix]] = {"fp16": round_fp16, "w8": round_w8}


def rounded(network: ERNet, weights: str) -> ERNet:
    """Return a copy with norms folded into convolutions and every weight as the package will hold it."""
    # torch takes seconds to import, and with it training.quantisation.qat.
    import torch
    from torch import nn

    from training.network.backbones.tinyvit import WindowAttention
    from training.quantisation.qat import fold_norms

    copied = fold_norms(copy.deepcopy(network))
    large = [
        # Of TinyViT's tables of biases the program holds one entry per pair of tokens.
        module.attention_biases if isinstance(module, WindowAttention) else module.weight
        for module in copied.modules()
        if isinstance(module, WindowAttention)
        or (isinstance(module, nn.Conv2d | nn.Linear) and module.weight.numel() > MIN_ELEMENTS)
    ]
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.copy_(parameter.half())
        for weight in large:
            weight.copy_(torch.from_numpy(ROUNDINGS[weights](weight.numpy())))
    return copied


def compress(model: Any) -> Any:
    """Store coremltools' model of a network rounded as w8: as int8, every large constant that loses nothing by it."""
    with quiet():
        optimize = coremltools().optimize.coreml
        large = optimize.get_weights_metadata(model, weight_threshold=MIN_ELEMENTS)
        names = [name for name, facts in large.items() if _is_rounded(facts.val)]
        config = optimize.OpLinearQuantizerConfig("linear_symmetric", "int8", weight_threshold=MIN_ELEMENTS)
        chosen = optimize.OptimizationConfig(op_name_configs=dict.fromkeys(names, config))
        return optimize.linear_quantize_weights(model, chosen)


def _is_rounded(value: NDArray[Any]) -> bool:
    if value.dtype != np.float16 or value.ndim < 2:
        return False
    weight = value.astype(np.float32)
    return np.array_equal(round_w8(weight), weight)
