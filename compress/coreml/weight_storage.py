"""How a package stores its weights: the rounding in numpy, and coremltools' compression that keeps exactly that.

The network is rounded first, so that a torch network with the package's numbers exists to compare with; compressing a
rounded network loses nothing more. What is rounded: kernels and matrices of convolutions and linears, norms folded in.
"""

from __future__ import annotations

import copy
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


def rounded(network: ERNet, precision: str) -> ERNet:
    """Return a copy with norms folded into convolutions and every weight as the package will hold it."""
    # torch takes seconds to import.
    import torch
    from torch import nn

    from training.network.backbones.tinyvit import WindowAttention

    copied = _fold_norms(copy.deepcopy(network))
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
        for weight in large if precision == "w8" else ():
            weight.copy_(torch.from_numpy(round_w8(weight.numpy())))
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


def _fold_norms(network: ERNet) -> ERNet:
    """Fold every BatchNorm of a network in eval mode into the convolution before it, in place."""
    import torch
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    names = {module: name for name, module in network.named_modules()}
    made_by: dict[int, tuple[nn.Conv2d, Any]] = {}  # by identity; with the tensor, whose identity stays its own so
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def note(module: nn.Module, given: tuple[Any, ...], made: Any) -> None:
        if isinstance(module, nn.Conv2d):
            made_by[id(made)] = module, made
        elif isinstance(module, nn.BatchNorm2d):
            pairs.append((made_by[id(given[0])][0], module))

    handles = [module.register_forward_hook(note) for module in names]
    with torch.no_grad():
        network(torch.zeros(1, 3, *[network.variant.crop_px] * 2))
    for handle in handles:
        handle.remove()
    for convolution, norm in pairs:
        network.set_submodule(names[convolution], fuse_conv_bn_eval(convolution, norm))
        network.set_submodule(names[norm], nn.Identity())
    return network
