"""Rewritings of a finished graph: a quicker first layer, less storage.

- `widen`: onnxruntime's int8 convolution gathers its inputs pixel by pixel, and takes twice as long for the 3 bytes of
  an RGB pixel as for 4 (1.32, x86-64; a seventh of er-xs int8's time). A channel of zeros is added, with weights of
  zero; the normalisation becomes one pass instead of two on the way. er-xs int8 needs 0.89 of its time, er-nano 0.92.
- `correct_biases`: rounding weights shifts what a layer gives by what its inputs are on average; biases take it back
  (Nagel et al., ICCV 2019). On 64 synthetic images int8 moved er-c's vertices by 2.2 mm with it, 2.8 without.
- `one_gelu`: opset 17 spells GELU as five nodes, which onnxruntime joins again only where no Q/DQ stands between them;
  behind convolutions it does. As the one node of opset 20, er-s int8 needs 0.79 of its time.
- `store_as_int8`: layers left in float and TinyViT's attention biases, spread out to one number per pair of tokens,
  would take up to half of an int8 file. They are computed with in float as before; only their storage is rounded, to 8
  bits of each row's range, and turned back by a Cast and a Mul, which runtimes fold when they load the file;
  DequantizeLinear onnxruntime repeats for every image.
- `compact`: zero points, all alike, and the long names of tensors take most of what is left. It changes no number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compress.onnx.graph import Graph, attribute, constants_of, replace_nodes
from compress.onnx.quantize import WEIGHT_MAX, channel_axis

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

MIN_ELEMENTS = 4096  # of a constant that is stored as int8
RGB = 3
CHANNEL_OF_ZEROS = (0, 0, 0, 0, 0, 1, 0, 0)  # what Pad adds before and after each axis of (1, 3, S, S)
GELU_OPSET = 20
Scales = NDArray[np.float32]  # (outputs,)
FIRST_LAYER = ("Sub", "Div", "QuantizeLinear", "DequantizeLinear", "Conv")


def widen(model: ModelProto) -> bool:
    """Give a quantised first convolution of RGB a fourth channel; False, and nothing changed, where there is none."""
    from onnx import helper, numpy_helper

    graph = Graph(model)
    chain = _first_layer(graph)
    if chain is None:
        return False
    subtract, divide, rounding, _, convolution = chain
    stored, mean, deviation = graph.dequantised(convolution, 1), graph.value(subtract, 1), graph.value(divide, 1)
    weight = graph.value(stored, 0) if stored is not None else np.zeros((0, 0))
    if stored is None or weight.shape[1] != RGB or not mean.size == deviation.size == RGB:
        return False
    factor = (1 / deviation.reshape(RGB)).astype(np.float32)
    constants = {
        "normalise_scale": factor,
        "normalise_shift": (-mean.reshape(RGB) * factor).astype(np.float32),
        "normalise_mean": np.zeros(RGB, np.float32),
        "normalise_variance": np.ones(RGB, np.float32),
        "channel_of_zeros": np.array(CHANNEL_OF_ZEROS, np.int64),
        "widened_weight": np.concatenate([weight, np.zeros_like(weight[:, :1])], axis=1),
    }
    normalised, widened = divide.output[0], f"{divide.output[0]}_widened"
    inputs = [subtract.input[0], *list(constants)[:4]]
    wider = [
        helper.make_node("BatchNormalization", inputs, [normalised], "/normalise", epsilon=0.0),
        helper.make_node("Pad", [normalised, "channel_of_zeros"], [widened], "/widen"),
    ]
    rounding.input[0], stored.input[0] = widened, "widened_weight"
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    place = list(graph.nodes).index(subtract)
    others = [node for node in graph.nodes if node not in (subtract, divide)]
    replace_nodes(model, [*others[:place], *wider, *others[place:]])
    return True


def own_biases(model: ModelProto, nodes: Iterable[str]) -> None:
    """Give these nodes biases of their own: a norm may read the same one (untrained, all are 0), and is not rounded."""
    from onnx import numpy_helper

    constants, quantized = constants_of(model), set(nodes)
    for node in model.graph.node:
        if node.name in quantized and len(node.input) > 2:
            bias, node.input[2] = constants[node.input[2]], f"{node.name}_bias"
            model.graph.initializer.append(numpy_helper.from_array(bias, node.input[2]))
    replace_nodes(model, model.graph.node)


def correct_biases(model: ModelProto, scales: Mapping[str, Scales], means: Mapping[str, Sequence[float]]) -> None:
    """Take from biases what rounding the weights adds to a layer's outputs on average.

    scales: of the rounded weights, by their node, which has a bias of its own. means: of its inputs' channels.
    """
    from onnx import numpy_helper

    graph = Graph(model)
    for node in graph.nodes:
        if node.name not in scales or len(node.input) < 3:
            continue
        rows = np.moveaxis(graph.value(node, 1), channel_axis(node), 0)
        scale = scales[node.name].reshape(-1, *[1] * (rows.ndim - 1))
        added = (np.round(rows / scale) * scale - rows).reshape(*rows.shape[:2], -1).sum(axis=2)  # (outputs, inputs)
        groups = attribute(node, "group", 1)
        inputs = np.reshape(means[node.input[0]], (groups, -1)).repeat(len(rows) // groups, axis=0)
        bias = graph.value(node, 2) - (added * inputs).sum(axis=1)
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[2])
        tensor.CopyFrom(numpy_helper.from_array(bias.astype(np.float32), node.input[2]))


def _first_layer(graph: Graph) -> list[NodeProto] | None:
    """The nodes of FIRST_LAYER from the image on, each read by the next alone."""
    nodes: list[NodeProto] = []
    tensor = graph.model.graph.input[0].name
    for operator in FIRST_LAYER:
        readers = graph.readers[tensor]
        if len(readers) != 1 or readers[0].op_type != operator or readers[0].input[0] != tensor:
            return None
        nodes += readers
        tensor = readers[0].output[0]
    return nodes


def one_gelu(model: ModelProto) -> ModelProto:
    """The model with each GELU as one node, in opset 20; itself where it has none."""
    from onnx import helper, version_converter

    if not any(node.op_type == "Erf" for node in model.graph.node):
        return model
    model = version_converter.convert_version(model, GELU_OPSET)
    graph, joined, gone = Graph(model), {}, set()
    for erf in graph.of_type("Erf"):
        divide = graph.makers[erf.input[0]]  # GELU: Div, Erf, Add, Mul, Mul
        (add,) = graph.readers[erf.output[0]]
        (product,) = graph.readers[add.output[0]]
        (last,) = graph.readers[product.output[0]]
        name = f"{erf.name.rpartition('/')[0]}/Gelu"
        joined[last.name] = helper.make_node("Gelu", divide.input[:1], last.output, name)
        gone |= {node.name for node in (divide, erf, add, product)}
    replace_nodes(model, [joined.get(node.name, node) for node in graph.nodes if node.name not in gone])
    return model


def store_as_int8(model: ModelProto) -> tuple[str, ...]:
    """Store float constants of MIN_ELEMENTS or more, of rank 2 or more, as int8 with one scale per row; their names.

    Rows lie along axis 0, the output channel of a Conv or Gemm weight; where that has one entry, along the longest of
    the axes but the last. Nodes keep their names and order.
    """
    from onnx import TensorProto, helper, numpy_helper

    quantized = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.input}
    stored, nodes = [], []
    for name, value in constants_of(model).items():
        if value.dtype != np.float32 or value.ndim < 2 or value.size < MIN_ELEMENTS or name in quantized:
            continue
        axis = 0 if value.shape[0] > 1 else int(np.argmax(value.shape[:-1]))
        others = tuple(i for i in range(value.ndim) if i != axis)
        largest = np.abs(value).max(axis=others, keepdims=True)
        scale = np.maximum(largest / WEIGHT_MAX, np.finfo(np.float32).tiny).astype(np.float32)
        integers = np.round(value / scale).clip(-WEIGHT_MAX, WEIGHT_MAX).astype(np.int8)
        inputs = [f"{name}_stored", f"{name}_stored_scale"]
        nodes.append(helper.make_node("Cast", inputs[:1], [f"{name}_float"], f"{name}_cast", to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", [f"{name}_float", inputs[1]], [name], f"{name}_scale"))
        model.graph.initializer.extend(map(numpy_helper.from_array, (integers, scale), inputs))
        stored.append(name)
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name in stored]:
        model.graph.initializer.remove(tensor)
    replace_nodes(model, [*nodes, *model.graph.node])
    return tuple(stored)


def compact(model: ModelProto) -> None:
    """One tensor for all constants of the same type, shape and content; tensors inside the graph are numbered."""
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    same: dict[str, str] = {}
    for tensor in list(model.graph.initializer):
        key = (tensor.data_type, tuple(tensor.dims), tensor.raw_data)
        if tensor.raw_data and first.setdefault(key, tensor.name) != tensor.name:
            same[tensor.name] = first[key]
            model.graph.initializer.remove(tensor)
    del model.graph.value_info[:]  # shapes, noted under the old names
    short = {"": ""} | {value.name: value.name for value in [*model.graph.input, *model.graph.output]}

    def renamed(names: Iterable[str]) -> list[str]:
        return [short.setdefault(name, f"t{len(short)}") for name in (same.get(name, name) for name in names)]

    for node in model.graph.node:
        node.input[:] = renamed(node.input)
        node.output[:] = renamed(node.output)
    for tensor in model.graph.initializer:
        (tensor.name,) = renamed([tensor.name])
