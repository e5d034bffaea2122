"""Compressed weights of ML programs -> plain arrays: the `constexpr_` operations of MIL (iOS16 and iOS18)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.coreml.blob import unpack

Array = NDArray[Any]
Inputs = Mapping[str, Any]  # by parameter name


def affine_dequantize(inputs: Inputs) -> Array:
    """iOS16: scale * (quantized_data - zero_point), both per tensor or per element of `axis`."""
    data, axis = inputs["quantized_data"], inputs["axis"].item()

    def spread(value: Array) -> Array:
        if not value.ndim:
            return value
        if value.size not in (1, data.shape[axis]):  # nothing else would do for the shape that is declared
            raise ValueError(f"{value.size} scales or zero points for {data.shape[axis]} outputs")
        shape = [1] * data.ndim
        shape[axis] = -1
        return value.reshape(shape)

    return _scaled(data, spread(inputs["scale"]), spread(inputs["zero_point"]))


def blockwise_shift_scale(inputs: Inputs) -> Array:
    """iOS18: the same with a scale per block; a block is as large as data over scale in every dimension."""
    data, scale = inputs["data"], inputs["scale"]
    offset = inputs.get("offset")
    return _scaled(data, _spread(scale, data.shape), 0 if offset is None else _spread(offset, data.shape))


def lut_to_dense(inputs: Inputs) -> Array:
    """Palettes: every index becomes the palette's entry. iOS16 packs the indices, iOS18 has a palette per block."""
    lut = inputs["lut"]
    if "shape" in inputs:
        shape = tuple(int(side) for side in inputs["shape"])
        bits = max(lut.size - 1, 1).bit_length()
        return lut[unpack(inputs["indices"], bits, prod(shape))].reshape(shape)
    if lut.shape[-1] != 1:
        raise ValueError("palettes of vectors are not supported")
    indices = inputs["indices"]
    if all(side == 1 for side in lut.shape[:-2]):
        return lut.reshape(-1)[indices]
    tables = _spread(lut[..., 0], (*indices.shape, lut.shape[-2]))
    return np.take_along_axis(tables, indices[..., None].astype(np.intp), axis=-1)[..., 0]


DECOMPRESS: dict[str, Callable[[Inputs], Array]] = {
    "constexpr_affine_dequantize": affine_dequantize,
    "constexpr_blockwise_shift_scale": blockwise_shift_scale,
    "constexpr_lut_to_dense": lut_to_dense,
}


def _scaled(data: Array, scale: Array, zero_point: Array | int) -> Array:
    """The product is exact in fp32, then rounded once to the scale's type."""
    return ((data.astype(np.float32) - zero_point) * scale.astype(np.float32)).astype(scale.dtype)


def _spread(blocks: Array, shape: tuple[int, ...]) -> Array:
    """Repeat every element as often as makes the shape."""
    if blocks.ndim != len(shape) or any(side % own for side, own in zip(shape, blocks.shape, strict=True)):
        raise ValueError(f"blocks {blocks.shape} do not divide {shape}")
    for axis, side in enumerate(shape):
        if blocks.shape[axis] != side:
            blocks = np.repeat(blocks, side // blocks.shape[axis], axis)
    return blocks
