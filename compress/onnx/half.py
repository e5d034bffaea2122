"""fp16 ONNX: weights and activations in half precision; what overflows or rounds badly there is computed in fp32.

Some operators are always kept: norms square their input, softmax and means sum over many values. What else is kept
is measured: the range of every tensor over real crops, then the new file, each of its fp16 values really rounded.
Running the file as it is would prove nothing: onnxruntime computes fp16 files in fp32 on CPUs, from one end to the
other, and an overflow on the way does not show.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compress.crops import Crops
from compress.onnx.graph import load_float, values_inside
from runtime.errors import UserError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

KEEP_FP32_TYPES = ("LayerNormalization", "Softmax", "ReduceMean")
FP16_MAX = 65504.0
# What crops may reach in fp16: other images reach more, and so may the sums on the way to a result.
LARGEST = FP16_MAX / 4
# With nothing above this a tensor's steps are coarser than fp16's rounding of its largest value.
SMALLEST = 2.0**-13


@dataclass(frozen=True)
class KeptFloat:
    """A node of an fp16 file that is computed in fp32, and why."""

    node: str
    reason: str


def convert_to_fp16(source: Path, target: Path, crops: Crops | None = None) -> tuple[KeptFloat, ...]:
    """Write the fp16 file of a float file, checked on crops (N, S, S, 3); inputs and outputs stay float32.

    Without crops KEEP_FP32_TYPES and what reads constants beyond fp16 are kept, and nothing is checked. UserError,
    naming the operation, where a value is not finite even in fp32, or gets lost in spite of what is kept.
    """
    import onnx

    model = load_float(source)
    largest = largest_constants(model)
    if crops is not None:
        largest |= largest_values(model, crops)
    kept = out_of_range(model, largest)
    for node in model.graph.node:
        if node.op_type in KEEP_FP32_TYPES:
            kept[node_name(node)] = f"{node.op_type} sums over many values"
    half = to_half(model, kept)
    if crops is not None:
        check_rounded(model, half, crops)
    onnx.save(half, target)
    return tuple(KeptFloat(*item) for item in kept.items())


# ---- what fp16 cannot hold


def largest_constants(model: ModelProto) -> dict[str, float]:
    """Largest magnitude of every float constant."""
    from onnx import numpy_helper

    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {name: float(np.abs(v).max()) for name, v in values.items() if v.dtype == np.float32 and v.size}


def largest_values(model: ModelProto, crops: Crops) -> dict[str, float]:
    """The same of every float tensor that is computed, over crops; a UserError names what is not finite."""
    largest = dict.fromkeys(float_tensors(model), 0.0)
    for values in values_inside(model, list(largest), crops, "ranges for fp16"):
        for name, value in ((name, values[name]) for name in largest):
            if not np.isfinite(value).all():
                maker = next(node for node in model.graph.node if name in node.output)
                raise UserError(f"no fp16: {node_name(maker)} ({maker.op_type}) is not finite even in fp32")
            largest[name] = max(largest[name], float(np.abs(value).max()))
    return largest


def out_of_range(model: ModelProto, largest: Mapping[str, float]) -> dict[str, str]:
    """Nodes that make or read a tensor that fp16 cannot hold, with the reason."""
    reasons = {}
    for name, value in largest.items():
        if value > LARGEST:
            reasons[name] = f"{name} reaches {value:.4g}, and fp16 ends at {FP16_MAX:.0f}"
        elif 0 < value < SMALLEST:
            reasons[name] = f"{name} does not pass {value:.2g}, where fp16 has few digits left"
    found: dict[str, str] = {}
    for node in model.graph.node:
        for name in (*node.output, *node.input):
            if name in reasons:
                found.setdefault(node_name(node), reasons[name])
    return found


def check_rounded(model: ModelProto, half: ModelProto, crops: Crops) -> None:
    """A UserError that names the first node of the float model that is not finite when rounded as in its fp16 model."""
    for values in values_inside(rounded_to_fp16(half), float_tensors(model), crops, "checking fp16"):
        bad = {name for name, value in values.items() if not np.isfinite(value).all()}
        if bad & {output.name for output in model.graph.output}:
            node = next(node for node in model.graph.node if bad & set(node.output))
            raise UserError(f"no fp16: {node_name(node)} ({node.op_type}) overflows on rounded values; give --fp32")


# ---- the graph


def node_name(node: NodeProto) -> str:
    """A node's name, or its output's where it has none."""
    return node.name or node.output[0]


def float_tensors(model: ModelProto) -> list[str]:
    """Every float32 tensor that a node makes, in order."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in [*inferred.value_info, *inferred.output]}
    made = [name for node in model.graph.node for name in node.output]
    return [name for name in made if types.get(name) == onnx.TensorProto.FLOAT]


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
    floats, outputs = set(float_tensors(model)), {value.name for value in graph.output}
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
            nodes.append(_cast(name, turned[name, wanted], wanted))
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
                    nodes.append(_cast(node.output[index], name, single))
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(
        _as_type(constants[name], np.float16, stored) for (name, _), stored in turned.items() if name in constants
    )
    read = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)
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
                nodes += [_cast(f"{name}_exact", f"{name}_stored", half), _cast(f"{name}_stored", name, single)]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    for tensor in graph.initializer:
        if tensor.data_type == half:
            tensor.CopyFrom(_as_type(tensor, np.float32, tensor.name))
    return result


def _cast(source: str, target: str, to: int) -> NodeProto:
    from onnx import helper

    return helper.make_node("Cast", [source], [target], f"{source}_cast", to=to)


def _as_type(tensor: TensorProto, dtype: type[np.floating], name: str) -> TensorProto:
    """A constant in another type; what fp16 cannot hold becomes infinite."""
    from onnx import numpy_helper

    with np.errstate(over="ignore"):
        return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(dtype), name)
