"""A smaller int8 file of the same computation.

The layers left in float and TinyViT's attention biases, spread out to one number per pair of tokens, would take up to
half of its bytes. They are computed with in float as before; only their storage is rounded, to 8 bits of each row's
range, and turned back at every run, which costs less than can be measured. Zero points, all alike, and the long names
of tensors take most of what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

MIN_ELEMENTS = 4096
WEIGHT_MAX = 127


def rewrite(path: Path, change: Callable[[ModelProto], object]) -> None:
    """Change a model file in place."""
    import onnx

    model = onnx.load(path)
    change(model)
    onnx.save(model, path)


def compact(model: ModelProto) -> None:
    """All of this module. Nodes keep their names and order."""
    store_as_int8(model)
    compact_exactly(model)


def compact_exactly(model: ModelProto) -> None:
    """What changes no number, for weights that were trained to be what they are."""
    share_equal_constants(model)
    shorten_tensor_names(model)


def store_as_int8(model: ModelProto) -> tuple[str, ...]:
    """Store float constants of MIN_ELEMENTS or more, of rank 2 or more, as int8 with one scale per row; their names.

    Rows lie along axis 0, the output channel of a Conv or Gemm weight; where that has one entry, along the longest of
    the axes but the last.
    """
    from onnx import helper, numpy_helper

    quantized = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.input}
    stored, nodes = [], []
    for tensor in list(model.graph.initializer):
        value = numpy_helper.to_array(tensor)
        if value.dtype != np.float32 or value.ndim < 2 or value.size < MIN_ELEMENTS or tensor.name in quantized:
            continue
        axis = 0 if value.shape[0] > 1 else int(np.argmax(value.shape[:-1]))
        others = tuple(i for i in range(value.ndim) if i != axis)
        scale = np.maximum(np.abs(value).max(axis=others) / WEIGHT_MAX, np.finfo(np.float32).tiny).astype(np.float32)
        shape = [-1 if i == axis else 1 for i in range(value.ndim)]
        integers = np.round(value / scale.reshape(shape)).clip(-WEIGHT_MAX, WEIGHT_MAX).astype(np.int8)
        name = tensor.name
        model.graph.initializer.remove(tensor)
        model.graph.initializer.extend(
            [
                numpy_helper.from_array(integers, f"{name}_stored"),
                numpy_helper.from_array(scale, f"{name}_stored_scale"),
            ]
        )
        inputs = [f"{name}_stored", f"{name}_stored_scale"]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [name], f"{name}_stored_dequantize", axis=axis))
        stored.append(name)
    nodes.extend(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return tuple(stored)


def share_equal_constants(model: ModelProto) -> None:
    """One tensor for all constants of the same type, shape and content."""
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    same: dict[str, str] = {}
    kept = []
    for tensor in model.graph.initializer:
        key = (tensor.data_type, tuple(tensor.dims), tensor.raw_data)
        if not tensor.raw_data or first.setdefault(key, tensor.name) == tensor.name:
            kept.append(tensor)
        else:
            same[tensor.name] = first[key]
    kept = [_copied(tensor) for tensor in kept]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    for node in model.graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]


def shorten_tensor_names(model: ModelProto) -> None:
    """Tensors inside the graph are numbered; the shapes noted for them go."""
    del model.graph.value_info[:]
    outside = {value.name for value in [*model.graph.input, *model.graph.output]}
    short: dict[str, str] = {name: name for name in {"", *outside}}

    def renamed(names: Iterable[str]) -> list[str]:
        return [short.setdefault(name, f"t{len(short)}") for name in names]

    for node in model.graph.node:
        node.input[:] = renamed(node.input)
        node.output[:] = renamed(node.output)
    for tensor in model.graph.initializer:
        tensor.name = short.setdefault(tensor.name, f"t{len(short)}")


def _copied(tensor: TensorProto) -> TensorProto:
    copy = type(tensor)()
    copy.CopyFrom(tensor)
    return copy
