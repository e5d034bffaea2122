"""How a package stores its weights: the rounding in torch, and coremltools' compression that keeps exactly that.

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
PALETTE_BITS = 6
_PALETTE_ROUNDS = 1000  # of k-means; most tensors settle earlier
_DENSITY_BINS = 256


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


def round_palette6(weight: Matrix) -> Matrix:
    """Round to 64 values per tensor: k-means on its fp16 values, which lie in a row, so a cluster is an interval."""
    values, place, counts = np.unique(round_fp16(weight), return_inverse=True, return_counts=True)
    entries = 1 << PALETTE_BITS
    if len(values) <= entries:
        return round_fp16(weight)
    members, totals = (np.append(0, np.cumsum(sums)) for sums in (counts, counts * values.astype(np.float64)))
    # Of many small clusters the best lie as dense as the cube root of the weights' density (Panter and Dite, 1951).
    mass, edges = np.histogram(values.astype(np.float64), _DENSITY_BINS, weights=counts)
    share = np.append(0, np.cumsum(np.cbrt(mass)))
    centres = np.interp((np.arange(entries) + 0.5) / entries * share[-1], share, edges)
    for _ in range(_PALETTE_ROUNDS):
        bounds = np.searchsorted(values, [-np.inf, *(centres[1:] + centres[:-1]) / 2, np.inf], side="right")
        count = np.diff(members[bounds])
        moved = np.where(count > 0, np.diff(totals[bounds]) / np.maximum(count, 1), centres)
        if np.array_equal(moved, centres):
            break
        centres = moved
    palette = np.unique(round_fp16(np.asarray(centres, np.float32)))
    nearest = np.searchsorted((palette[1:] + palette[:-1]) / 2, values)
    return palette[nearest][place].reshape(weight.shape)


# By the name of the weight format: of large weights, after which fp16 takes nothing more.
ROUNDINGS: dict[str, Callable[[Matrix], Matrix]] = {"fp16": round_fp16, "w8": round_w8, "palette6": round_palette6}


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


def compress(model: Any, weights: str) -> Any:
    """Store coremltools' model of a rounded network in the format: every large constant that loses nothing by it."""
    if weights == "fp16":
        return model
    with quiet():
        optimize = coremltools().optimize.coreml
        large = optimize.get_weights_metadata(model, weight_threshold=MIN_ELEMENTS)
        names = [name for name, facts in large.items() if _is_rounded(facts.val, ROUNDINGS[weights])]
        if weights == "w8":
            config = optimize.OpLinearQuantizerConfig("linear_symmetric", "int8", weight_threshold=MIN_ELEMENTS)
            apply = optimize.linear_quantize_weights
        else:
            config = optimize.OpPalettizerConfig("custom", lut_function=palette_of, weight_threshold=MIN_ELEMENTS)
            apply = optimize.palettize_weights
        return apply(model, optimize.OptimizationConfig(op_name_configs=dict.fromkeys(names, config)))


def palette_of(weight: NDArray[np.float16]) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    """Return the palette (64,) of a rounded weight, filled up with zeros, and every number's place in it, flat.

    coremltools' own way sorts fp16, at which numpy (2.2 to 2.4, AVX512) errs: values came out twice, palettes twice as
    long.
    """
    values, place = np.unique(weight.astype(np.float32), return_inverse=True)
    palette = np.zeros(1 << PALETTE_BITS, np.float16)
    palette[: len(values)] = values
    return palette, place.reshape(-1).astype(np.uint8)


def _is_rounded(value: NDArray[Any], rounding: Callable[[Matrix], Matrix]) -> bool:
    if value.dtype != np.float16 or value.ndim < 2:
        return False
    weight = value.astype(np.float32)
    return np.array_equal(rounding(weight), weight)
