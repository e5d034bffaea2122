"""Rules that a quantised graph must obey, one function each: a graph in, what breaks the rule out.

Where they come from: ONNX's QuantizeLinear and DequantizeLinear; what onnxruntime's kernels fuse (`cpu`); NVIDIA's
"Working with Quantized Types" and what its parser did with made graphs (`trt`): a zero point other than 0 or a
quantised bias is a parse error, a uint8 zero point only a warning and a silently clipped result.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

QDQ = ("QuantizeLinear", "DequantizeLinear")
WEIGHTED = ("Conv", "Gemm")
MAX_RANK = 4
# Operators with integer arithmetic of their own: ONNX has them, neither TensorRT nor most phones do.
INTEGER_OPERATORS = ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")
# The first version of TensorRT whose parser has an operator (onnx-tensorrt, docs/Changelog.md).
TENSORRT_SINCE = {
    "Einsum": (8, 2),
    "GatherND": (8, 2),
    "ScatterElements": (8, 2),
    "ScatterND": (8, 2),
    "Shrink": (8, 4),
    "GridSample": (8, 5),
    "MeanVarianceNormalization": (8, 5),
    "Mod": (8, 5),
    "NonZero": (8, 5),
    "RoiAlign": (8, 5),
    "Trilu": (8, 5),
    "GroupNormalization": (8, 6),
    "IsInf": (8, 6),
    "LayerNormalization": (8, 6),
    "Hardmax": (9, 2),
    "DeformConv": (10, 1),
    "STFT": (10, 5),
}


@dataclass(frozen=True)
class Violation:
    """A rule that one node breaks."""

    node: str
    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.node}: {self.rule}: {self.what}"


class Graph:
    """A model with what the rules look up."""

    def __init__(self, model: ModelProto) -> None:
        from onnx import numpy_helper

        self.model = model
        self.nodes: Sequence[NodeProto] = model.graph.node
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._array = numpy_helper.to_array
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.readers[name].append(node)
        self.outputs = {value.name for value in model.graph.output}

    def constant(self, name: str) -> NDArray[Any] | None:
        """The value of a constant, None for a computed tensor."""
        return self._array(self._tensors[name]) if name in self._tensors else None

    def of_type(self, *operators: str) -> Iterator[NodeProto]:
        """Nodes with one of these operators."""
        return (node for node in self.nodes if node.op_type in operators)

    def zero_point(self, node: NodeProto) -> NDArray[Any] | None:
        """Of a Q or DQ node; None where it is left out, which means 0."""
        return self.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None

    def dequantised_weight(self, node: NodeProto) -> NodeProto | None:
        """The DQ node that makes a node's weight from a constant, or None."""
        maker = self.makers.get(node.input[1])
        is_one = maker is not None and maker.op_type == "DequantizeLinear"
        return maker if is_one and maker is not None and self.constant(maker.input[0]) is not None else None

    def rounded(self, name: str) -> bool:
        """Whether a tensor is an activation fresh from a DQ."""
        maker = self.makers.get(name)
        return maker is not None and maker.op_type == "DequantizeLinear" and self.constant(maker.input[0]) is None


Rule = Callable[[Graph], Iterator[Violation]]


def standard_domain(graph: Graph) -> Iterator[Violation]:
    """Only ONNX's own operators."""
    for node in graph.nodes:
        if node.domain not in ("", "ai.onnx"):
            yield Violation(node.name, "standard-domain", f"operator {node.domain}.{node.op_type} is not ONNX's own")


def explicit_quantisation(graph: Graph) -> Iterator[Violation]:
    """Q/DQ pairs, no operators with integer arithmetic of their own."""
    for node in graph.of_type(*INTEGER_OPERATORS):
        yield Violation(node.name, "explicit-quantisation", f"{node.op_type} instead of Q/DQ around the float operator")


def scales_are_positive(graph: Graph) -> Iterator[Violation]:
    """Scales and zero points are constants, scales finite and above 0."""
    for node in graph.of_type(*QDQ):
        scale = graph.constant(node.input[1])
        if scale is None:
            yield Violation(node.name, "scale", "its scale is computed, not a constant")
        elif not (np.isfinite(scale).all() and (scale > 0).all()):
            yield Violation(node.name, "scale", f"its scale is not a positive number ({scale.min()} to {scale.max()})")
        if len(node.input) > 2 and node.input[2] and graph.zero_point(node) is None:
            yield Violation(node.name, "scale", "its zero point is computed, not a constant")


def pairs(graph: Graph) -> Iterator[Violation]:
    """Every Q is read by DQs alone, with its own scale and zero point; every DQ reads a Q or a constant."""
    for node in graph.of_type("QuantizeLinear"):
        readers = graph.readers[node.output[0]]
        if not readers or any(reader.op_type != "DequantizeLinear" for reader in readers):
            yield Violation(node.name, "pairs", "a Q must be read by DQs and by nothing else")
            continue
        for reader in readers:
            for ours, theirs, what in zip(node.input[1:], reader.input[1:], ("scale", "zero point"), strict=False):
                if not np.array_equal(_value(graph, ours), _value(graph, theirs)):
                    yield Violation(reader.name, "pairs", f"its {what} is not that of {node.name}")
    for node in graph.of_type("DequantizeLinear"):
        maker = graph.makers.get(node.input[0])
        if graph.constant(node.input[0]) is None and (maker is None or maker.op_type != "QuantizeLinear"):
            yield Violation(node.name, "pairs", "a DQ must read a Q or a constant")


def _value(graph: Graph, name: str) -> NDArray[Any]:
    value = graph.constant(name)
    return np.zeros(0) if value is None else value


def static_rank(graph: Graph) -> Iterator[Violation]:
    """Constants of rank MAX_RANK at most, and every other tensor whose shape is known."""
    for tensor in graph.model.graph.initializer:
        if len(tensor.dims) > MAX_RANK:
            yield Violation(
                tensor.name, "rank", f"a constant of rank {len(tensor.dims)}, at most {MAX_RANK} are allowed"
            )
    for value in graph.model.graph.value_info:
        if (rank := len(value.type.tensor_type.shape.dim)) > MAX_RANK:
            yield Violation(value.name, "rank", f"a tensor of rank {rank}, at most {MAX_RANK} are allowed")


COMMON: tuple[Rule, ...] = (standard_domain, explicit_quantisation, scales_are_positive, pairs, static_rank)


def opset(lowest: int, highest: int) -> Rule:
    """The version of ONNX's operator set."""

    def rule(graph: Graph) -> Iterator[Violation]:
        for entry in graph.model.opset_import:
            if entry.domain in ("", "ai.onnx") and not lowest <= entry.version <= highest:
                yield Violation("graph", "opset", f"opset {entry.version} is not within {lowest} to {highest}")

    return rule


def activations(dtype: str) -> Rule:
    """Activations are rounded per tensor, to this type."""

    def rule(graph: Graph) -> Iterator[Violation]:
        for node in graph.of_type("QuantizeLinear"):
            if graph.constant(node.input[0]) is not None:
                yield Violation(node.name, "activations", "it rounds a constant: store that as integers with a DQ")
            if _value(graph, node.input[1]).size > 1:
                yield Violation(node.name, "activations", "an activation has one scale, not one per channel")
            zero_point = graph.zero_point(node)
            found = "uint8" if zero_point is None else str(zero_point.dtype)  # ONNX's default
            if found != dtype:
                yield Violation(node.name, "activations", f"rounded to {found}, not {dtype}")

    return rule


def zero_points_are_zero(graph: Graph) -> Iterator[Violation]:
    """Symmetric: no zero point but 0."""
    for node in graph.of_type(*QDQ):
        zero_point = graph.zero_point(node)
        if zero_point is not None and zero_point.any():
            yield Violation(node.name, "zero-point", f"zero point {int(np.abs(zero_point).max())} instead of 0")


def weights_per_channel(graph: Graph) -> Iterator[Violation]:
    """Quantised weights are int8 with zero point 0 and one scale per output channel."""
    for node in graph.of_type(*WEIGHTED):
        if (maker := graph.dequantised_weight(node)) is None:
            continue
        integers, scale, zero_point = (
            _value(graph, maker.input[0]),
            _value(graph, maker.input[1]),
            graph.zero_point(maker),
        )
        expected = _output_axis(node)
        if integers.dtype != np.int8 or (zero_point is not None and zero_point.any()):
            yield Violation(
                node.name, "weights", f"{integers.dtype} weights, or a zero point: int8 around 0 is expected"
            )
        if scale.size > 1 and _axis(maker) % integers.ndim != expected:
            yield Violation(node.name, "weights", f"scales along axis {_axis(maker)}, the output channel is {expected}")
        if scale.size not in (integers.shape[expected], 1) or (scale.size == 1 < integers.shape[expected]):
            yield Violation(node.name, "weights", f"{scale.size} scales for {integers.shape[expected]} output channels")


def _output_axis(node: NodeProto) -> int:
    """Where a weight's output channels lie."""
    if node.op_type == "Conv":
        return 0
    return 0 if any(attribute.name == "transB" and attribute.i for attribute in node.attribute) else 1


def _axis(node: NodeProto) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "axis"), 1)


def biases_are_float(graph: Graph) -> Iterator[Violation]:
    """No bias comes from a DQ."""
    for node in graph.of_type(*WEIGHTED):
        if len(node.input) > 2 and (maker := graph.makers.get(node.input[2])) is not None and maker.op_type in QDQ:
            yield Violation(node.name, "bias", "its bias is quantised")


def biases_fit(graph: Graph) -> Iterator[Violation]:
    """A quantised bias is int32 with the scale of its products: input's times weight's."""
    for node in graph.of_type(*WEIGHTED):
        maker = graph.makers.get(node.input[2]) if len(node.input) > 2 else None
        if maker is None or maker.op_type != "DequantizeLinear":
            continue
        bias, scale = _value(graph, maker.input[0]), _value(graph, maker.input[1])
        weight, source = graph.dequantised_weight(node), graph.makers.get(node.input[0])
        if bias.dtype != np.int32:
            yield Violation(node.name, "bias", f"a quantised bias is int32, not {bias.dtype}")
        elif weight is None or source is None or source.op_type != "DequantizeLinear":
            yield Violation(node.name, "bias", "its bias is quantised, its input or weight is not")
        else:
            input_scale, weight_scale = _value(graph, source.input[1]), _value(graph, weight.input[1])
            fits = input_scale.size == 1 and scale.size == weight_scale.size
            if not fits or not np.allclose(scale, input_scale * weight_scale, rtol=1e-5, atol=0):
                yield Violation(node.name, "bias", "its scale is not input's times weight's")


def float_operators(operators: Sequence[str]) -> Rule:
    """Operators whose inputs are not rounded: attention products, softmax, norms."""

    def rule(graph: Graph) -> Iterator[Violation]:
        for node in graph.of_type(*operators):
            if any(graph.rounded(name) for name in node.input):
                yield Violation(node.name, "float-operators", f"the input of a {node.op_type} is rounded")

    return rule


def weights_alone(graph: Graph) -> Iterator[Violation]:
    """No Q/DQ; int8 constants become floats by Cast and Mul with one constant scale per row, which runtimes fold."""
    for node in graph.of_type(*QDQ):
        yield Violation(node.name, "weights-alone", f"{node.op_type}: only weights are integers, and they are cast")
    for node in graph.nodes:
        for name in node.input:
            value = graph.constant(name)
            if value is not None and value.dtype == np.int8 and not _is_scaled_weight(graph, node):
                yield Violation(node.name, "weights-alone", f"{name} is int8 and not turned back by Cast and Mul")


def _is_scaled_weight(graph: Graph, cast: NodeProto) -> bool:
    readers = graph.readers[cast.output[0]]
    if cast.op_type != "Cast" or not readers or any(reader.op_type != "Mul" for reader in readers):
        return False
    scales = [graph.constant(name) for reader in readers for name in reader.input if name != cast.output[0]]
    return all(
        s is not None and s.size == max(s.shape) and bool(np.isfinite(s).all() and (s > 0).all()) for s in scales
    )


def forbidden_operators(graph: Graph, version: tuple[int, int]) -> Iterator[Violation]:
    """Operators that TensorRT of this version lacks."""
    for node in graph.nodes:
        since = TENSORRT_SINCE.get(node.op_type)
        if since is not None and version < since:
            has = ".".join(map(str, since))
            yield Violation(node.name, "tensorrt-operators", f"{node.op_type} needs TensorRT {has} or later")
