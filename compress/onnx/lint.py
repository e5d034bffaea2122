"""Prove that a quantised graph obeys the rules of its flavour: `python -m compress.onnx.lint FILE --flavour trt`.

Every export runs it. Exit code 0: clean, 1: rules are broken (each is named with its node), 2: not a model.

Where the rules come from: ONNX's QuantizeLinear and DequantizeLinear; what onnxruntime's kernels fuse (`cpu`); NVIDIA's
"Working with Quantized Types" and what its parser did with made graphs (`trt`): a zero point other than 0 or a
quantised bias is a parse error, a uint8 zero point only a warning and a silently clipped result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from compress.onnx.graph import NOTHING, QDQ, Graph, attribute
from runtime.errors import CommandParser, UserError, first_line, run_command, unknown_name

if TYPE_CHECKING:
    from onnx import ModelProto

WEIGHTED = ("Conv", "Gemm")
IN_FLOAT = ("MatMul", "Softmax", "LayerNormalization")  # their inputs are not rounded
# Operators with integer arithmetic of their own: ONNX has them, neither TensorRT nor most phones do.
INTEGER_OPERATORS = ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")
# The first version of TensorRT whose parser has an operator (onnx-tensorrt, docs/Changelog.md).
TENSORRT_SINCE = {
    **dict.fromkeys(("Einsum", "GatherND", "ScatterElements", "ScatterND"), (8, 2)),
    **dict.fromkeys(("GridSample", "MeanVarianceNormalization", "Mod", "NonZero", "RoiAlign", "Trilu"), (8, 5)),
    **dict.fromkeys(("GroupNormalization", "IsInf", "LayerNormalization"), (8, 6)),
    "DeformConv": (10, 1),
}


class Violation(NamedTuple):
    """A rule that one node breaks."""

    node: str
    rule: str
    what: str

    def __str__(self) -> str:
        return ": ".join(self)


Found = Iterator[tuple[str, str]]  # node, what is wrong


def operators(graph: Graph) -> Found:
    """Only ONNX's own operators, and Q/DQ instead of those with integer arithmetic of their own."""
    for node in graph.nodes:
        if node.domain not in ("", "ai.onnx"):
            yield node.name, f"operator {node.domain}.{node.op_type} is not ONNX's own"
        elif node.op_type in INTEGER_OPERATORS:
            yield node.name, f"{node.op_type} instead of Q/DQ around the float operator"


def opset(graph: Graph, lowest: int, highest: int) -> Found:
    """The version of ONNX's operator set."""
    for entry in graph.model.opset_import:
        if entry.domain in ("", "ai.onnx") and not lowest <= entry.version <= highest:
            yield "graph", f"opset {entry.version} is not within {lowest} to {highest}"


def scales(graph: Graph) -> Found:
    """Scales and zero points are constants, scales finite and above 0."""
    for node in graph.of_type(*QDQ):
        scale = graph.value(node, 1)
        if not (scale.size and np.isfinite(scale).all() and (scale > 0).all()):
            yield node.name, "its scale is not a positive number and constant"
        if len(node.input) > 2 and node.input[2] not in graph.constants:
            yield node.name, "its zero point is not constant"


def pairs(graph: Graph) -> Found:
    """Every Q is read by DQs alone, with its own scale and zero point; every DQ reads a Q or a constant."""
    for node in graph.of_type("QuantizeLinear"):
        readers = graph.readers[node.output[0]]
        if not readers or any(reader.op_type != "DequantizeLinear" for reader in readers):
            yield node.name, "a Q must be read by DQs and by nothing else"
            continue
        for reader in readers:
            if not all(np.array_equal(graph.value(node, i), graph.value(reader, i)) for i in (1, 2)):
                yield reader.name, f"its scale or zero point is not that of {node.name}"
    for node in graph.of_type("DequantizeLinear"):
        maker = graph.makers.get(node.input[0])
        if node.input[0] not in graph.constants and (maker is None or maker.op_type != "QuantizeLinear"):
            yield node.name, "a DQ must read a Q or a constant"


def activations(graph: Graph, dtype: str) -> Found:
    """Activations are rounded per tensor, to this type, int8 around 0."""
    for node in graph.of_type("QuantizeLinear"):
        if node.input[0] in graph.constants:
            yield node.name, "it rounds a constant: store that as integers with a DQ"
        if graph.value(node, 1).size > 1:
            yield node.name, "an activation has one scale, not one per channel"
        zero_point = graph.value(node, 2)
        found = str(zero_point.dtype) if zero_point.size else "uint8"  # ONNX's default
        if found != dtype or (dtype == "int8" and zero_point.any()):
            yield node.name, f"rounded to {found}, not {dtype}{' around 0' if dtype == 'int8' else ''}"


def weights(graph: Graph) -> Found:
    """Quantised weights are int8 with zero point 0 and one scale per output channel."""
    for node in graph.of_type(*WEIGHTED):
        maker = graph.dequantised(node, 1)
        if maker is None or maker.input[0] not in graph.constants:
            continue
        integers, scale, zero_point = (graph.value(maker, index) for index in range(3))
        # Where a weight's output channels lie: along its rows, or columns in a Gemm that is not transposed.
        expected = 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else 1
        if integers.dtype != np.int8 or zero_point.any():
            yield node.name, f"{integers.dtype} weights, or a zero point: int8 around 0 is expected"
        axis = attribute(maker, "axis", 1) % integers.ndim
        if axis != expected or scale.size != integers.shape[expected]:
            wrong = f"{scale.size} scales along axis {axis}"
            yield node.name, f"{wrong}: one per output channel, axis {expected}, is expected"


def biases(graph: Graph, quantised: bool) -> Found:
    """A bias is float; or it may be int32 with the scale of its products, input's times weight's."""
    for node in graph.of_type(*WEIGHTED):
        source, weight, bias = (graph.dequantised(node, index) for index in range(3))
        if bias is None:
            continue
        if not quantised:
            yield node.name, "its bias is quantised"
        elif graph.value(bias, 0).dtype != np.int32:
            yield node.name, f"a quantised bias is int32, not {graph.value(bias, 0).dtype}"
        elif weight is None or source is None:
            yield node.name, "its bias is quantised, its input or weight is not"
        else:
            of_input, of_weight, scale = (graph.value(maker, 1) for maker in (source, weight, bias))
            fits = of_input.size == 1 and scale.size == of_weight.size
            if not fits or not np.allclose(scale, of_input * of_weight, rtol=1e-5, atol=0):
                yield node.name, "its scale is not input's times weight's"


def float_operators(graph: Graph) -> Found:
    """Attention products, softmax and norms take floats."""
    for node in graph.of_type(*IN_FLOAT):
        makers = (graph.dequantised(node, index) for index in range(len(node.input)))
        if any(maker is not None and maker.input[0] not in graph.constants for maker in makers):
            yield node.name, f"the input of a {node.op_type} is rounded"


def gelus(graph: Graph) -> Found:
    """GELU is one node: spelled out it falls apart between Q/DQ."""
    for node in graph.of_type("Erf"):
        yield node.name, "a GELU of more than one node"


def constants(graph: Graph) -> Found:
    """Q/DQ pairs serve integer products: a DQ of stored weights is read by those alone, others would run per image."""
    for node in graph.of_type("DequantizeLinear"):
        if node.input[0] in graph.constants and any(r.op_type not in WEIGHTED for r in graph.readers[node.output[0]]):
            yield node.name, "a constant that no integer product reads is dequantised for every image"


def weights_alone(graph: Graph) -> Found:
    """No Q/DQ; int8 constants become floats by Cast and Mul with one scale per row, which runtimes fold."""
    for node in graph.of_type(*QDQ):
        yield node.name, f"{node.op_type}: only weights are integers, and they are cast"
    for node in graph.nodes:
        if any(graph.constants.get(name, NOTHING).dtype == np.int8 for name in node.input):
            readers = graph.readers[node.output[0]]
            scales = [graph.value(reader, 1) for reader in readers if reader.op_type == "Mul"]
            per_row = all(scale.size == max(scale.shape, default=0) > 0 and (scale > 0).all() for scale in scales)
            if node.op_type != "Cast" or not scales or len(scales) < len(readers) or not per_row:
                yield node.name, "an int8 constant is not turned back by Cast and Mul"


def tensorrt_operators(graph: Graph, version: tuple[int, int]) -> Found:
    """Operators that TensorRT of this version has."""
    for node in graph.of_type(*TENSORRT_SINCE):
        if version < (since := TENSORRT_SINCE[node.op_type]):
            yield node.name, f"{node.op_type} needs TensorRT {since[0]}.{since[1]} or later"


Rules = Mapping[str, Callable[[Graph], Found]]  # by name
_UP_TO_20 = partial(opset, lowest=17, highest=20)
_ROUNDED: Rules = {
    "operators": operators,
    "scale": scales,
    "pairs": pairs,
    "weights": weights,
    "float-operators": float_operators,
}
RULES: Mapping[str, Rules] = {  # by flavour
    "cpu": {
        **_ROUNDED,
        "opset": _UP_TO_20,
        "activations": partial(activations, dtype="uint8"),
        "bias": partial(biases, quantised=True),
        "gelu": gelus,
        "constants": constants,
    },
    "trt": {
        **_ROUNDED,
        "opset": partial(opset, lowest=17, highest=18),  # int8 fails on TensorRT 10.3 from 19 on (TensorRT #4797)
        "activations": partial(activations, dtype="int8"),
        "bias": partial(biases, quantised=False),
    },
    "coreml-w8": {"operators": operators, "opset": _UP_TO_20, "weights-alone": weights_alone},
}


def lint(model: ModelProto, flavour: str, tensorrt: tuple[int, int] | None = None) -> tuple[Violation, ...]:
    """Every violation of the flavour's rules, and operators that a version of TensorRT lacks."""
    if flavour not in RULES:
        raise unknown_name("flavour", flavour, RULES)
    rules = dict(RULES[flavour])
    if tensorrt is not None:
        rules["tensorrt-operators"] = partial(tensorrt_operators, version=tensorrt)
    graph = Graph(model)
    return tuple(
        dict.fromkeys(Violation(node, rule, what) for rule, check in rules.items() for node, what in check(graph))
    )


def read_model(path: Path) -> ModelProto:
    """An ONNX file with all its weights inside; a UserError for anything else."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(model)
        if any(tensor.external_data for tensor in model.graph.initializer):
            raise ValueError("it keeps weights in other files")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        raise UserError(f"{path} is not a whole ONNX model: {first_line(error)}") from error
    return model


def main(arguments: list[str] | None = None) -> int:
    parser = CommandParser(__doc__)
    parser.add_argument("file", type=Path, help="an ONNX file with Q/DQ")
    parser.add_argument("--flavour", default="cpu", help=f"one of {', '.join(RULES)}")
    parser.add_argument("--tensorrt", metavar="X.Y", help="also name operators that this version of TensorRT lacks")
    args = parser.parse_args(arguments)
    version = None
    if args.tensorrt is not None:
        if not (found := re.fullmatch(r"(\d{1,2})\.(\d{1,2})", args.tensorrt)):
            raise UserError(f"--tensorrt {args.tensorrt!r}: give a version such as 10.3")
        version = (int(found[1]), int(found[2]))
    violations = lint(read_model(args.file), args.flavour, version)
    print(*violations, f"{args.file}, flavour {args.flavour}: {len(violations) or 'no'} violations", sep="\n")
    return 1 if violations else 0


if __name__ == "__main__":
    run_command(main)
