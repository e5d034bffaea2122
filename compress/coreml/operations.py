"""What each kind of MIL operation computes, as torch functions of its parameters.

Parameters have MIL's names and defaults (coremltools' operation reference). Tensors are float32; integers come as numpy
arrays, scalars of float type as numbers. Sums are taken in fp32 (see evaluator). ValueError for what is not supported.
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
    if x.ndim != 4:
        raise ValueError(f"conv of rank {x.ndim}")
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
    if x.ndim != 4 or ceil_mode:
        raise ValueError("max_pool of another rank than 4, or with ceil_mode")
    padded = functional.pad(x, _padding(pad_type, pad), value=-torch.inf)
    return functional.max_pool2d(padded, _ints(kernel_sizes), _ints(strides))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return functional.linear(x, weight, bias)


def matmul(x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    return (x.mT if transpose_x else x) @ (y.mT if transpose_y else y)


def layer_norm(
    x: Tensor, axes: Integers, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: float = 1e-5
) -> Tensor:
    over = sorted(axis % x.ndim for axis in _ints(axes))
    shape = [x.shape[axis] if axis in over else 1 for axis in range(x.ndim)]
    centred = x - x.mean(over, keepdim=True)
    normed = centred * torch.rsqrt(centred.square().mean(over, keepdim=True) + epsilon)
    normed = normed if gamma is None else normed * gamma.reshape(shape)
    return normed if beta is None else normed + beta.reshape(shape)


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    return x.softmax(int(axis))


def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    match mode:
        case "EXACT":
            return functional.gelu(x)
        case "TANH_APPROXIMATION":
            return functional.gelu(x, approximate="tanh")
        case "SIGMOID_APPROXIMATION":
            return x * torch.sigmoid(1.702 * x)
    raise ValueError(f"gelu of mode {mode[:40]}")


def reduce_mean(x: Tensor, axes: Integers | None = None, keep_dims: bool = False) -> Tensor:
    return x.mean(list(range(x.ndim)) if axes is None else _ints(axes), keepdim=bool(keep_dims))


def reshape(x: Tensor, shape: Integers) -> Tensor:
    return x.reshape(_ints(shape))


def transpose(x: Tensor, perm: Integers) -> Tensor:
    return x.permute(_ints(perm))


def expand_dims(x: Tensor, axes: Integers) -> Tensor:
    rank = x.ndim + len(_ints(axes))
    for axis in sorted(axis % rank for axis in _ints(axes)):
        x = x.unsqueeze(axis)
    return x


def squeeze(x: Tensor, axes: Integers | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(_ints(axes)))


def slice_by_index(
    x: Tensor,
    begin: Integers,
    end: Integers,
    stride: Integers | None = None,
    begin_mask: NDArray[np.bool_] | None = None,
    end_mask: NDArray[np.bool_] | None = None,
    squeeze_mask: NDArray[np.bool_] | None = None,
) -> Tensor:
    steps = [1] * x.ndim if stride is None else _ints(stride)
    if min(steps) < 1:
        raise ValueError("slice_by_index with a negative stride")
    places: list[slice | int] = []
    for axis in range(x.ndim):
        first, last = int(begin[axis]), int(end[axis])
        if squeeze_mask is not None and squeeze_mask[axis]:
            places.append(first)
            continue
        from_start = begin_mask is not None and begin_mask[axis]
        to_end = end_mask is not None and end_mask[axis]
        places.append(slice(None if from_start else first, None if to_end else last, steps[axis]))
    return x[tuple(places)]


def split(
    x: Tensor, axis: int, num_splits: int | None = None, split_sizes: Integers | None = None
) -> tuple[Tensor, ...]:
    if split_sizes is not None:
        return x.split(_ints(split_sizes), int(axis))
    if num_splits is None or x.shape[int(axis)] % int(num_splits):
        raise ValueError("split into unequal parts")
    return x.chunk(int(num_splits), int(axis))


def concat(values: Sequence[Tensor], axis: int, interleave: bool = False) -> Tensor:
    if interleave:
        raise ValueError("concat with interleave")
    return torch.cat(list(values), int(axis))


def stack(values: Sequence[Tensor], axis: int) -> Tensor:
    return torch.stack(list(values), int(axis))


def cast(x: Tensor, dtype: str) -> Tensor:
    """Between float types; the evaluator rounds."""
    if dtype not in ("fp16", "fp32"):
        raise ValueError(f"cast to {dtype[:40]}")
    return x


KERNELS: dict[str, Callable[..., Values]] = {
    "abs": lambda x: x.abs(),
    "add": lambda x, y: x + y,
    "cast": cast,
    "concat": concat,
    "conv": conv,
    "expand_dims": expand_dims,
    "gelu": gelu,
    "layer_norm": layer_norm,
    "linear": linear,
    "matmul": matmul,
    "max_pool": max_pool,
    "mul": lambda x, y: x * y,
    "real_div": lambda x, y: x / y,
    "reduce_mean": reduce_mean,
    "relu": lambda x: torch.relu(x),
    "reshape": reshape,
    "slice_by_index": slice_by_index,
    "softmax": softmax,
    "split": split,
    "squeeze": squeeze,
    "stack": stack,
    "sub": lambda x, y: x - y,
    "transpose": transpose,
}
MAX_PADDING = 1024
LISTS = ("values",)  # parameters that take any number of values


def _ints(values: Any) -> list[int]:
    return [int(value) for value in values]


def _padding(pad_type: str, pad: Sequence[int]) -> list[int]:
    """MIL's top, bottom, left, right -> torch's left, right, top, bottom."""
    match pad_type:
        case "valid":
            return [0, 0, 0, 0]
        case "custom":
            top, bottom, left, right = sides = _ints(pad)
            if not 0 <= min(sides) <= max(sides) <= MAX_PADDING:
                raise ValueError(f"padding of {sides}")
            return [left, right, top, bottom]
    raise ValueError(f"padding of type {pad_type[:40]}")
