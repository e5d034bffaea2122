"""Prove that a quantised graph obeys the rules of its flavour: `python -m compress.onnx.lint FILE --flavour trt`.

Every export runs it. Exit code 0: clean, 1: rules are broken (each is named with its node), 2: not a model.

Where the rules come from: ONNX's QuantizeLinear and DequantizeLinear; what onnxruntime's kernels fuse (`cpu`); NVIDIA's
"Working with Quantized Types" and what its parser did with made graphs (`trt`): a zero point other than 0 or a
quantised bias is a parse error, a uint8 zero point only a warning and a silently clipped result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compress.onnx.graph import QDQ, Graph
from runtime.errors import CommandParser, UserError, first_line, run_command, unknown_name

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

WEIGHTED = ("Conv", "Gemm")
IN_FLOAT = ("MatMul", "Softmax", "LayerNormalization")  # their inputs are not rounded
MAX_RANK = 4
# Operators with integer arithmetic of their own: ONNX has them, neither TensorRT nor most phones do.
INTEGER_OPERATORS = ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")
# The first version of TensorRT whose parser has an operator (onnx-tensorrt, docs/Changelog.md).
TENSORRT_SINCE = {
    **dict.fromkeys(("Einsum", "GatherND", "ScatterElements", "ScatterND"), (8, 2)),
    "Shrink": (8, 4),
    **dict.fromkeys(("GridSample", "MeanVarianceNormalization", "Mod", "NonZero", "RoiAlign", "Trilu"), (8, 5)),
    **dict.fromkeys(("GroupNormalization", "IsInf", "LayerNormalization"), (8, 6)),
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


Found = Iterator[tuple[str, str]]  # node, what is wrong
Rule = tuple[str, Callable[[Graph], Found]]


def standard_domain(graph: Graph) -> Found:
    """Only ONNX's own operators."""
    for node in graph.nodes:
        if node.domain not in ("", "ai.onnx"):
            yield node.name, f"operator {node.domain}.{node.op_type} is not ONNX's own"


def explicit_quantisation(graph: Graph) -> Found:
    """Q/DQ pairs, no operators with integer arithmetic of their own."""
    for node in graph.of_type(*INTEGER_OPERATORS):
        yield node.name, f"{node.op_type} instead of Q/DQ around the float operator"


def scales_are_positive(graph: Graph) -> Found:
    """Scales and zero points are constants, scales finite and above 0."""
    for node in graph.of_type(*QDQ):
        scale = graph.constant(node.input[1])
        if scale is None:
            yield node.name, "its scale is computed, not a constant"
        elif not (np.isfinite(scale).all() and (scale > 0).all()):
            yield node.name, f"its scale is not a positive number ({scale.min()} to {scale.max()})"
        if len(node.input) > 2 and node.input[2] and graph.zero_point(node) is None:
            yield node.name, "its zero point is computed, not a constant"


def pairs(graph: Graph) -> Found:
    """Every Q is read by DQs alone, with its own scale and zero point; every DQ reads a Q or a constant."""
    for node in graph.of_type("QuantizeLinear"):
        readers = graph.readers[node.output[0]]
        if not readers or any(reader.op_type != "DequantizeLinear" for reader in readers):
            yield node.name, "a Q must be read by DQs and by nothing else"
            continue
        for reader in readers:
            for ours, theirs, what in zip(node.input[1:], reader.input[1:], ("scale", "zero point"), strict=False):
                if not np.array_equal(_value(graph, ours), _value(graph, theirs)):
                    yield reader.name, f"its {what} is not that of {node.name}"
    for node in graph.of_type("DequantizeLinear"):
        maker = graph.makers.get(node.input[0])
        if graph.constant(node.input[0]) is None and (maker is None or maker.op_type != "QuantizeLinear"):
            yield node.name, "a DQ must read a Q or a constant"


def static_rank(graph: Graph) -> Found:
    """Constants of rank MAX_RANK at most, and every other tensor whose shape is known."""
    ranks = {tensor.name: len(tensor.dims) for tensor in graph.model.graph.initializer}
    ranks |= {value.name: len(value.type.tensor_type.shape.dim) for value in graph.model.graph.value_info}
    for name, rank in ranks.items():
        if rank > MAX_RANK:
            yield name, f"rank {rank}, at most {MAX_RANK} is allowed"


def opset(lowest: int, highest: int) -> Callable[[Graph], Found]:
    """The version of ONNX's operator set."""

    def rule(graph: Graph) -> Found:
        for entry in graph.model.opset_import:
            if entry.domain in ("", "ai.onnx") and not lowest <= entry.version <= highest:
                yield "graph", f"opset {entry.version} is not within {lowest} to {highest}"

    return rule


def activations(dtype: str) -> Callable[[Graph], Found]:
    """Activations are rounded per tensor, to this type."""

    def rule(graph: Graph) -> Found:
        for node in graph.of_type("QuantizeLinear"):
            if graph.constant(node.input[0]) is not None:
                yield node.name, "it rounds a constant: store that as integers with a DQ"
            if _value(graph, node.input[1]).size > 1:
                yield node.name, "an activation has one scale, not one per channel"
            zero_point = graph.zero_point(node)
            found = "uint8" if zero_point is None else str(zero_point.dtype)  # ONNX's default
            if found != dtype:
                yield node.name, f"rounded to {found}, not {dtype}"

    return rule


def zero_points_are_zero(graph: Graph) -> Found:
    """Symmetric: no zero point but 0."""
    for node in graph.of_type(*QDQ):
        zero_point = graph.zero_point(node)
        if zero_point is not None and zero_point.any():
            yield node.name, f"zero point {int(np.abs(zero_point).max())} instead of 0"


def weights_per_channel(graph: Graph) -> Found:
    """Quantised weights are int8 with zero point 0 and one scale per output channel."""
    for node in graph.of_type(*WEIGHTED):
        if (maker := graph.dequantised_weight(node)) is None:
            continue
        integers, scale = (_value(graph, name) for name in maker.input[:2])
        zero_point = graph.zero_point(maker)
        # Where a weight's output channels lie: along its rows, or columns in a Gemm that is not transposed.
        expected = 0 if node.op_type == "Conv" or _attribute(node, "transB", 0) else 1
        if integers.dtype != np.int8 or (zero_point is not None and zero_point.any()):
            yield node.name, f"{integers.dtype} weights, or a zero point: int8 around 0 is expected"
        if scale.size > 1 and (axis := _attribute(maker, "axis", 1)) % integers.ndim != expected:
            yield node.name, f"scales along axis {axis}, the output channel is {expected}"
        if scale.size != integers.shape[expected]:
            yield node.name, f"{scale.size} scales for {integers.shape[expected]} output channels"


def biases_are_float(graph: Graph) -> Found:
    """No bias comes from a DQ."""
    for node in graph.of_type(*WEIGHTED):
        if len(node.input) > 2 and (maker := graph.makers.get(node.input[2])) is not None and maker.op_type in QDQ:
            yield node.name, "its bias is quantised"


def biases_fit(graph: Graph) -> Found:
    """A quantised bias is int32 with the scale of its products: input's times weight's."""
    for node in graph.of_type(*WEIGHTED):
        maker = graph.makers.get(node.input[2]) if len(node.input) > 2 else None
        if maker is None or maker.op_type != "DequantizeLinear":
            continue
        bias, scale = _value(graph, maker.input[0]), _value(graph, maker.input[1])
        weight, source = graph.dequantised_weight(node), graph.makers.get(node.input[0])
        if bias.dtype != np.int32:
            yield node.name, f"a quantised bias is int32, not {bias.dtype}"
        elif weight is None or source is None or source.op_type != "DequantizeLinear":
            yield node.name, "its bias is quantised, its input or weight is not"
        else:
            input_scale, weight_scale = _value(graph, source.input[1]), _value(graph, weight.input[1])
            fits = input_scale.size == 1 and scale.size == weight_scale.size
            if not fits or not np.allclose(scale, input_scale * weight_scale, rtol=1e-5, atol=0):
                yield node.name, "its scale is not input's times weight's"


def float_operators(graph: Graph) -> Found:
    """Attention products, softmax and norms take floats."""
    for node in graph.of_type(*IN_FLOAT):
        if any(graph.rounded(name) for name in node.input):
            yield node.name, f"the input of a {node.op_type} is rounded"


def weights_alone(graph: Graph) -> Found:
    """No Q/DQ; int8 constants become floats by Cast and Mul with one constant scale per row, which runtimes fold."""
    for node in graph.of_type(*QDQ):
        yield node.name, f"{node.op_type}: only weights are integers, and they are cast"
    for node in graph.nodes:
        for name in node.input:
            value = graph.constant(name)
            if value is not None and value.dtype == np.int8 and not _is_scaled_weight(graph, node):
                yield node.name, f"{name} is int8 and not turned back by Cast and Mul"


def _is_scaled_weight(graph: Graph, cast: NodeProto) -> bool:
    readers = graph.readers[cast.output[0]]
    if cast.op_type != "Cast" or not readers or any(reader.op_type != "Mul" for reader in readers):
        return False
    scales = [graph.constant(name) for reader in readers for name in reader.input if name != cast.output[0]]
    return all(
        s is not None and s.size == max(s.shape) and bool(np.isfinite(s).all() and (s > 0).all()) for s in scales
    )


def _value(graph: Graph, name: str) -> NDArray[Any]:
    value = graph.constant(name)
    return np.zeros(0) if value is None else value


def _attribute(node: NodeProto, name: str, default: int) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), default)


_COMMON: Sequence[Rule] = (
    ("standard-domain", standard_domain),
    ("explicit-quantisation", explicit_quantisation),
    ("scale", scales_are_positive),
    ("pairs", pairs),
    ("rank", static_rank),
)
_WITH_ACTIVATIONS: Sequence[Rule] = (("weights", weights_per_channel), ("float-operators", float_operators))
RULES: Mapping[str, Sequence[Rule]] = {  # by flavour
    "cpu": (
        *_COMMON,
        *_WITH_ACTIVATIONS,
        ("opset", opset(17, 20)),
        ("activations", activations("uint8")),
        ("bias", biases_fit),
    ),
    "trt": (
        *_COMMON,
        *_WITH_ACTIVATIONS,
        ("opset", opset(17, 18)),  # int8 fails on TensorRT 10.3 from 19 on (TensorRT #4797)
        ("activations", activations("int8")),
        ("zero-point", zero_points_are_zero),
        ("bias", biases_are_float),
    ),
    "coreml-w8": (*_COMMON, ("opset", opset(17, 20)), ("weights-alone", weights_alone)),
}


def lint(model: ModelProto, flavour: str, tensorrt: tuple[int, int] | None = None) -> tuple[Violation, ...]:
    """Every violation of the flavour's rules, and operators that a version of TensorRT lacks."""
    if flavour not in RULES:
        raise unknown_name("flavour", flavour, RULES)
    graph = Graph(model)
    found = [Violation(node, rule, what) for rule, check in RULES[flavour] for node, what in check(graph)]
    if tensorrt is not None:
        found += forbidden_operators(graph, tensorrt)
    return tuple(dict.fromkeys(found))


def forbidden_operators(graph: Graph, version: tuple[int, int]) -> Iterator[Violation]:
    """Operators that TensorRT of this version lacks."""
    for node in graph.of_type(*TENSORRT_SINCE):
        if version < (since := TENSORRT_SINCE[node.op_type]):
            has = ".".join(map(str, since))
            yield Violation(node.name, "tensorrt-operators", f"{node.op_type} needs TensorRT {has} or later")


def read_model(path: Path) -> ModelProto:
    """An ONNX file with all its weights inside; a UserError for anything else."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(model)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        raise UserError(f"{path} is not a whole ONNX model: {first_line(error)}") from error
    if any(tensor.external_data for tensor in model.graph.initializer):
        raise UserError(f"{path} keeps weights in other files: put them inside first")
    return model


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and print what is wrong."""
    parser = CommandParser(__doc__)
    parser.add_argument("file", type=Path, help="an ONNX file with Q/DQ")
    parser.add_argument("--flavour", default="cpu", help=f"one of {', '.join(RULES)}")
    parser.add_argument("--tensorrt", metavar="X.Y", help="also name operators that this version of TensorRT lacks")
    args = parser.parse_args(arguments)
    if args.flavour not in RULES:
        raise unknown_name("flavour", args.flavour, RULES)
    version = None
    if args.tensorrt is not None:
        if not (found := re.fullmatch(r"(\d{1,2})\.(\d{1,2})", args.tensorrt)):
            raise UserError(f"--tensorrt {args.tensorrt!r}: give a version such as 10.3")
        version = (int(found[1]), int(found[2]))
    violations = lint(read_model(args.file), args.flavour, version)
    for violation in violations:
        print(violation)
    count = f"{len(violations)} violations" if violations else "clean"
    print(f"{args.file}, flavour {args.flavour}: {count}")
    return 1 if violations else 0


if __name__ == "__main__":
    run_command(main)
