"""Rewriting a float graph: some of its nodes to fp16, and the same with every rounding of fp16 spelled out in fp32."""

from __future__ import annotations

import math
from collections.abc import Container
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto


def node_name(node: NodeProto) -> str:
    """A node's name, or its output's where it has none."""
    return node.name or node.output[0]


def float_sizes(model: ModelProto) -> dict[str, int]:
    """Elements of every float32 tensor that a node makes, in order. The graph's shapes are static."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type for value in [*inferred.value_info, *inferred.output]}
    made = [name for node in model.graph.node for name in node.output if name in types]
    floats = [name for name in made if types[name].elem_type == onnx.TensorProto.FLOAT]
    return {name: math.prod(dim.dim_value for dim in types[name].shape.dim) for name in floats}


def to_half(model: ModelProto, kept: Container[str]) -> ModelProto:
    """The model with all float nodes but the `kept` ones in fp16; inputs and outputs stay float32.

    A tensor is stored in the type of the node that makes it and turned once for readers of the other type, so that
    nothing between two kept nodes passes through fp16. Nodes that make floats of none (constants, casts) are kept too:
    their type is written inside them.
    """
    import onnx
    from onnx import TensorProto

    half, single = TensorProto.FLOAT16, TensorProto.FLOAT
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    constants = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == single}
    types = dict.fromkeys((value.name for value in graph.input if value.type.tensor_type.elem_type == single), single)
    floats = set(float_sizes(model))
    outputs = {value.name for value in graph.output}
    turned: dict[tuple[str, int], str] = {}
    nodes: list[NodeProto] = []

    def typed(name: str, wanted: int) -> str:
        """The tensor in this type."""
        if name in constants and wanted == half:
            return turned.setdefault((name, half), f"{name}_fp16")
        if types.get(name, wanted) == wanted:
            return name
        if (name, wanted) not in turned:
            turned[name, wanted] = f"{name}_{'fp16' if wanted == half else 'fp32'}"
            nodes.append(cast(name, turned[name, wanted], wanted))
        return turned[name, wanted]

    for node in graph.node:
        reads_floats = any(name in types or name in constants for name in node.input)
        wanted = half if reads_floats and node_name(node) not in kept else single
        if reads_floats:
            node.input[:] = [typed(name, wanted) for name in node.input]
        nodes.append(node)
        for index, name in enumerate(node.output):
            if name in floats:
                types[name] = wanted
                if wanted == half and name in outputs:
                    node.output[index] = turned[name, half] = f"{name}_fp16"
                    types[name] = single
                    nodes.append(cast(node.output[index], name, single))
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(
        as_type(constants[name], np.float16, stored) for (name, _), stored in turned.items() if name in constants
    )
    drop_unused(result)
    onnx.checker.check_model(result, full_check=True)
    return result


def rounded_to_fp16(model: ModelProto) -> ModelProto:
    """An fp16 model in fp32, each fp16 value rounded as it is stored; tensors keep their names.

    So computes hardware that sums in fp32; onnxruntime keeps these roundings, and drops those of the fp16 model itself.
    """
    import onnx
    from onnx import TensorProto, helper

    half, single = TensorProto.FLOAT16, TensorProto.FLOAT
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    inferred = onnx.shape_inference.infer_shapes(model).graph
    halves = {value.name for value in inferred.value_info if value.type.tensor_type.elem_type == half}
    nodes = []
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in halves and node.attribute[0].i == single:
            node = helper.make_node("Identity", node.input, node.output, node.name)
        nodes.append(node)
        for index, name in enumerate(node.output):
            if name in halves:
                node.output[index] = f"{name}_exact"
                nodes.append(cast(f"{name}_exact", f"{name}_stored", half))
                nodes.append(cast(f"{name}_stored", name, single))
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    for tensor in graph.initializer:
        if tensor.data_type == half:
            tensor.CopyFrom(as_type(tensor, np.float32, tensor.name))
    return result


def cast(source: str, target: str, to: int) -> NodeProto:
    """A Cast node."""
    from onnx import helper

    return helper.make_node("Cast", [source], [target], f"{source}_cast", to=to)


def as_type(tensor: TensorProto, dtype: type[np.floating], name: str) -> TensorProto:
    """A constant in another type; what fp16 cannot hold becomes infinite."""
    from onnx import numpy_helper

    with np.errstate(over="ignore"):
        return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(dtype), name)


def drop_unused(model: ModelProto) -> None:
    """Remove constants that no node reads."""
    read = {name for node in model.graph.node for name in node.input} | {value.name for value in model.graph.output}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
