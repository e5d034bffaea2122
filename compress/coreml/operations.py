"""What each kind of MIL operation computes, as torch functions of its parameters.

Parameters have MIL's names and defaults, those that this project's programs use: another one is a TypeError, a value
that is not supported a ValueError. Tensors are float32; integers come as numpy arrays, floats alone as numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Integers = NDArray[np.integer[Any]]
Values = Tensor | tuple[Tensor, ...]


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: Sequence[int] = (1, 1),
    pad_type: str = "valid",
    pad: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Tensor:
    padded = functional.pad(x, _padding(pad_type, pad))
    return functional.conv2d(padded, weight, bias, _ints(strides), 0, _ints(dilations), int(groups))


def max_pool(
    x: Tensor,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] = (1, 1),
    pad_type: str = "valid",
    pad: Sequence[int] = (0, 0, 0, 0),
    ceil_mode: bool = False,
) -> Tensor:
    padded = functional.pad(x, _padding(pad_type, pad), value=-torch.inf)
    return functional.max_pool2d(padded, _ints(kernel_sizes), _ints(strides), ceil_mode=bool(ceil_mode))


def layer_norm(
    x: Tensor, axes: Integers, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: float = 1e-5
) -> Tensor:
    return functional.layer_norm(x, [x.shape[axis] for axis in _ints(axes)], gamma, beta, epsilon)


def expand_dims(x: Tensor, axes: Integers) -> Tensor:
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in _ints(axes)):
        x = x.unsqueeze(axis)
    return x


def slice_by_index(
    x: Tensor,
    begin: Integers,
    end: Integers,
    end_mask: NDArray[np.bool_] | None = None,
    squeeze_mask: NDArray[np.bool_] | None = None,
) -> Tensor:
    places: list[slice | int] = []
    for axis, (first, last) in enumerate(zip(_ints(begin), _ints(end), strict=True)):
        if squeeze_mask is not None and squeeze_mask[axis]:
            places.append(first)
        else:
            places.append(slice(first, None if end_mask is not None and end_mask[axis] else last))
    return x[tuple(places)]


_GELU = {"EXACT": "none", "TANH_APPROXIMATION": "tanh"}  # in torch's words
KERNELS: dict[str, Callable[..., Values]] = {
    "abs": lambda x: x.abs(),
    "add": lambda x, y: x + y,
    "cast": lambda x, dtype: x,  # between float types: the evaluator rounds
    "concat": lambda values, axis, interleave=False: torch.cat(list(values), int(axis)),
    "conv": conv,
    "expand_dims": expand_dims,
    "gelu": lambda x, mode="EXACT": functional.gelu(x, approximate=_GELU[mode]),
    "layer_norm": layer_norm,
    "linear": lambda x, weight, bias=None: functional.linear(x, weight, bias),
    "matmul": lambda x, y, transpose_x=False, transpose_y=False: (
        (x.mT if transpose_x else x) @ (y.mT if transpose_y else y)
    ),
    "max_pool": max_pool,
    "mul": lambda x, y: x * y,
    "reduce_mean": lambda x, axes, keep_dims=False: x.mean(_ints(axes), keepdim=bool(keep_dims)),
    "relu": torch.relu,
    "reshape": lambda x, shape: x.reshape(_ints(shape)),
    "slice_by_index": slice_by_index,
    "softmax": lambda x, axis=-1: x.softmax(int(axis)),
    "split": lambda x, axis, split_sizes: x.split(_ints(split_sizes), int(axis)),
    "squeeze": lambda x, axes: x.squeeze(tuple(_ints(axes))),
    "stack": lambda values, axis: torch.stack(list(values), int(axis)),
    "sub": lambda x, y: x - y,
    "transpose": lambda x, perm: x.permute(_ints(perm)),
}
LISTS = ("values",)  # parameters that take any number of values


def _ints(values: Any) -> list[int]:
    return [int(value) for value in values]


def _padding(pad_type: str, pad: Sequence[int]) -> list[int]:
    """MIL's top, bottom, left, right -> torch's left, right, top, bottom."""
    if pad_type not in ("valid", "custom"):
        raise ValueError(f"padding of type {pad_type}")
    top, bottom, left, right = _ints(pad) if pad_type == "custom" else [0, 0, 0, 0]
    return [left, right, top, bottom]
