"""Changes to a float graph that keep what it computes and suit onnxruntime better."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


def split_prelus(model: ModelProto) -> int:
    """Replace every PRelu with a slope per channel by two depthwise convolutions and a ReLU; how many there were.

    PRelu(x) = x + (1 - slope) * relu(-x). onnxruntime's PRelu is slow (1.32: 7 of the palm detector's 19 ms, profiled)
    and makes it change the layout of what convolutions read before and after; these run in the convolutions' layout.
    """
    nodes: list[NodeProto] = []
    count = 0
    for node in model.graph.node:
        slope = _constant(model, node.input[1]) if node.op_type == "PRelu" else None
        if slope is None or slope.ndim < 3 or slope[..., 0, 0].size != slope.size:
            nodes.append(node)
            continue
        count += 1
        x, y, channels = node.input[0], node.output[0], slope.size
        minus = _add_constant(model, f"minus_{count}", -np.ones((channels, 1, 1, 1), np.float32))
        rest = _add_constant(model, f"one_minus_slope_{count}", 1 - slope.reshape(channels, 1, 1, 1))
        nodes += [
            _make("Conv", [x, minus], f"{y}_minus", f"{node.name}/minus/Conv", kernel_shape=[1, 1], group=channels),
            _make("Relu", [f"{y}_minus"], f"{y}_below", f"{node.name}/below/Relu"),
            _make(
                "Conv", [f"{y}_below", rest], f"{y}_rest", f"{node.name}/rest/Conv", kernel_shape=[1, 1], group=channels
            ),
            _make("Add", [f"{y}_rest", x], y, f"{node.name}/sum/Add"),
        ]
    _replace_nodes(model, nodes)
    return count


def widen_by_convolution(model: ModelProto) -> int:
    """Replace every Pad that appends channels of zeros by a 1 x 1 convolution, for the same reason; how many."""
    nodes: list[NodeProto] = []
    count = 0
    for node in model.graph.node:
        pads = _constant(model, node.input[1]) if node.op_type == "Pad" else None
        if pads is None or pads.size != 8 or pads[5] <= 0 or np.count_nonzero(pads) != 1:
            nodes.append(node)
            continue
        channels = channels_of(model, node.input[0])
        count += 1
        weight = np.eye(channels + int(pads[5]), channels, dtype=np.float32)[..., None, None]
        name = _add_constant(model, f"widening_{count}", weight)
        nodes.append(_make("Conv", [node.input[0], name], node.output[0], f"{node.name}/Conv", kernel_shape=[1, 1]))
    _replace_nodes(model, nodes)
    return count


def store_halves(model: ModelProto) -> int:
    """Store as float16 each float32 constant that loses nothing by it; how many. Loading turns them back."""
    from onnx import TensorProto, numpy_helper

    nodes: list[NodeProto] = []
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype != np.float32 or value.size < 2 or (value.astype(np.float16) != value).any():
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float16), f"{name}_half"))
        nodes.append(_make("Cast", [f"{name}_half"], name, f"{name}/Cast", to=TensorProto.FLOAT))
    _replace_nodes(model, [*nodes, *model.graph.node])
    return len(nodes)


def channels_of(model: ModelProto, tensor: str) -> int:
    """Channels of a tensor that a convolution made, perhaps with operators behind it that change no channels."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    while made_by[tensor].op_type != "Conv":
        tensor = made_by[tensor].input[0]
    weight = _constant(model, made_by[tensor].input[1])
    assert weight is not None
    return len(weight)


def drop_unread_constants(model: ModelProto) -> None:
    """Remove the initializers that no node reads."""
    read = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _constant(model: ModelProto, name: str) -> NDArray[np.generic] | None:
    from onnx import numpy_helper

    return next((numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == name), None)


def _add_constant(model: ModelProto, name: str, value: NDArray[np.generic]) -> str:
    from onnx import numpy_helper

    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    return name


def _make(operator: str, inputs: list[str], output: str, name: str, **attributes: object) -> NodeProto:
    from onnx import helper

    return helper.make_node(operator, inputs, [output], name, **attributes)


def _replace_nodes(model: ModelProto, nodes: list[NodeProto]) -> None:
    nodes = list(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
