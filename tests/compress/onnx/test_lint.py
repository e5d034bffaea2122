"""Every rule of the linter on a graph that obeys it and on one that does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

from compress.onnx.flavours import quantize, store_weights
from compress.onnx.lint import RULES, lint, main
from runtime.errors import UserError
from tests.fixtures.graphs import parse_graph

NODES = {
    "cpu": """
        xq = QuantizeLinear (image, x_scale, x_zero)
        x = DequantizeLinear (xq, x_scale, x_zero)
        w = DequantizeLinear <axis = 0> (weight, w_scale, w_zero)
        b = DequantizeLinear <axis = 0> (bias, b_scale)
        y = Conv (x, w, b)
        yq = QuantizeLinear (y, y_scale, y_zero)
        out = DequantizeLinear (yq, y_scale, y_zero)""",
    "trt": """
        xq = QuantizeLinear (image, x_scale, x_zero)
        x = DequantizeLinear (xq, x_scale, x_zero)
        w = DequantizeLinear <axis = 0> (weight, w_scale, w_zero)
        out = Conv (x, w, bias)""",
    "coreml-w8": """
        floats = Cast <to = 1> (weight)
        w = Mul (floats, w_scale)
        out = Conv (image, w, bias)""",
}
NAMES = {"xq": "x_quantize", "x": "x_dequantize", "w": "w_dequantize", "b": "b_dequantize", "floats": "w_cast"}


def small(flavour: str) -> ModelProto:
    """A convolution as the flavour wants it."""
    kind = np.uint8 if flavour == "cpu" else np.int8
    scale = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    constants = {
        "x_scale": np.float32(0.5),
        "x_zero": kind(3 if flavour == "cpu" else 0),
        "weight": np.arange(-8, 8, dtype=np.int8).reshape(4, 4, 1, 1),
        "w_scale": scale.reshape(4, 1, 1, 1) if flavour == "coreml-w8" else scale,
        "w_zero": np.zeros(4, np.int8),
        "bias": np.arange(4, dtype=np.int32 if flavour == "cpu" else np.float32),
        "b_scale": scale * np.float32(0.5),
        "y_scale": np.float32(0.25),
        "y_zero": kind(0),
    }
    text = f"(float[1, 4, 8, 8] image) => (float[1, 4, 8, 8] out) {{ {NODES[flavour]} }}"
    model = parse_graph(text, {name: value for name, value in constants.items() if name in text})
    for one in model.graph.node:
        one.name = "conv" if one.op_type == "Conv" else NAMES.get(one.name, one.name)
    return model


def node(model: ModelProto, name: str) -> onnx.NodeProto:
    return next(n for n in model.graph.node if n.name == name)


def put(model: ModelProto, name: str, value: object) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(value), name))


def add(model: ModelProto, *nodes: onnx.NodeProto) -> None:
    model.graph.node.extend(nodes)


@pytest.mark.parametrize("flavour", RULES)
def test_what_obeys_is_clean(flavour: str) -> None:
    model = small(flavour)
    onnx.checker.check_model(model, full_check=True)
    assert lint(model, flavour) == ()


Change = Callable[[ModelProto], object]


def stores(name: str, value: object) -> Change:
    """The constant has this value instead, or is new."""

    def change(model: ModelProto) -> None:
        if name not in {tensor.name for tensor in model.graph.initializer}:
            model.graph.initializer.append(numpy_helper.from_array(np.zeros(1), name))
        put(model, name, value)

    return change


def reads(index: int, tensor: str, *names: str) -> Change:
    """These nodes have another input."""
    return lambda model: [node(model, name).input.__setitem__(index, tensor) for name in names]


def has(operator: str, inputs: str, output: str, name: str, **attributes: int) -> Change:
    """There is one more node."""
    return lambda model: add(model, helper.make_node(operator, inputs.split(), [output], name, **attributes))


def both(*changes: Change) -> Change:
    return lambda model: [change(model) for change in changes]


def of_another_type(model: ModelProto) -> None:
    value = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "x_zero")
    put(model, "x_zero", value.astype(np.int8 if value.dtype == np.uint8 else np.uint8))


F = np.float32
BOTH = ("cpu", "trt")
ALONE = ("coreml-w8",)
BROKEN: list[tuple[Change, tuple[str, ...], str, str]] = [
    (lambda m: setattr(node(m, "conv"), "domain", "com.microsoft"), (*BOTH, *ALONE), "conv", "operators"),
    (has("ConvInteger", "xq weight", "i", "conv_integer"), BOTH, "conv_integer", "operators"),
    (stores("w_scale", np.array([0.1, -0.2, 0.3, 0.4], F)), BOTH, "w_dequantize", "scale"),
    (stores("x_scale", F(np.inf)), BOTH, "x_quantize", "scale"),
    (reads(1, "image", "x_quantize", "x_dequantize"), BOTH, "x_quantize", "scale"),
    (reads(2, "xq", "x_quantize", "x_dequantize"), BOTH, "x_quantize", "scale"),
    (both(stores("other", F(0.7)), reads(1, "other", "x_dequantize")), BOTH, "x_dequantize", "pairs"),
    (has("Cast", "xq", "c", "cast", to=1), BOTH, "x_quantize", "pairs"),
    (reads(0, "image", "x_dequantize"), BOTH, "x_dequantize", "pairs"),
    (lambda m: setattr(m.opset_import[0], "version", 21), (*BOTH, *ALONE), "graph", "opset"),
    (stores("x_scale", np.full(4, 0.5, F)), BOTH, "x_quantize", "activations"),
    (reads(0, "w_scale", "x_quantize"), BOTH, "x_quantize", "activations"),
    (of_another_type, BOTH, "x_quantize", "activations"),
    (stores("x_zero", np.array(5, np.int8)), ("trt",), "x_quantize", "activations"),
    (stores("w_zero", np.ones(4, np.int8)), BOTH, "conv", "weights"),
    (stores("weight", np.zeros((4, 4, 1, 1), np.uint8)), BOTH, "conv", "weights"),
    (lambda m: setattr(node(m, "w_dequantize").attribute[0], "i", 1), BOTH, "conv", "weights"),
    (stores("w_scale", F(0.1)), BOTH, "conv", "weights"),
    (
        both(has("DequantizeLinear", "bias b_scale", "b", "b_dequantize"), reads(2, "b", "conv")),
        ("trt",),
        "conv",
        "bias",
    ),
    (stores("bias", np.arange(4, dtype=np.int8)), ("cpu",), "conv", "bias"),
    (stores("b_scale", np.full(4, 0.1, F)), ("cpu",), "conv", "bias"),
    (reads(0, "image", "conv"), ("cpu",), "conv", "bias"),
    (has("Softmax", "x", "s", "softmax"), BOTH, "softmax", "float-operators"),
    (has("Erf", "x", "e", "erf"), ("cpu",), "erf", "gelu"),
    (has("Add", "w w", "s", "sum"), ("cpu",), "w_dequantize", "constants"),
    (
        both(
            stores("x_scale", F(1)),
            stores("x_zero", np.uint8(0)),
            has("QuantizeLinear", "image x_scale x_zero", "q", "x_quantize"),
        ),
        ALONE,
        "x_quantize",
        "weights-alone",
    ),
    (lambda m: setattr(node(m, "w_dequantize"), "op_type", "Add"), ALONE, "w_cast", "weights-alone"),
    (stores("w_scale", np.full((4, 4, 1, 1), 0.1, F)), ALONE, "w_cast", "weights-alone"),
]


@pytest.mark.parametrize(
    ("break_it", "flavour", "culprit", "rule"),
    [(change, flavour, culprit, rule) for change, flavours, culprit, rule in BROKEN for flavour in flavours],
)
def test_what_breaks_a_rule_is_named(break_it: Change, flavour: str, culprit: str, rule: str) -> None:
    model = small(flavour)
    break_it(model)
    assert (culprit, rule) in {(violation.node, violation.rule) for violation in lint(model, flavour)}


def test_a_linear_scales_its_rows_or_columns() -> None:
    for transposed, axis, clean in ((1, 0, True), (1, 1, False), (0, 1, True), (0, 0, False)):
        model = small("trt")
        put(model, "weight", np.zeros((4, 4), np.int8))
        conv = node(model, "conv")
        conv.op_type = "Gemm"
        conv.attribute.append(helper.make_attribute("transB", transposed))
        node(model, "w_dequantize").attribute[0].i = axis
        assert (lint(model, "trt") == ()) is clean, (transposed, axis)


def test_operators_that_a_version_of_tensorrt_lacks() -> None:
    model = small("trt")
    add(model, helper.make_node("LayerNormalization", ["image", "x_scale"], ["n"], "norm"))
    assert lint(model, "trt") == lint(model, "trt", (8, 6)) == ()
    assert [str(v) for v in lint(model, "trt", (8, 5))] == [
        "norm: tensorrt-operators: LayerNormalization needs TensorRT 8.6 or later"
    ]


@pytest.fixture(scope="module")
def exported(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """er-nano in every flavour."""
    crops = np.random.default_rng(0).integers(0, 256, (3, 160, 160, 3), np.uint8)
    folder = tmp_path_factory.mktemp("flavours")
    files = {name: folder / f"{name}.onnx" for name in RULES}
    store_weights(nano, files["coreml-w8"])
    for name in BOTH:
        quantize(nano, files[name], crops, name)
    return files


@pytest.mark.parametrize("flavour", RULES)
def test_what_is_written_obeys_its_own_rules_alone(exported: dict[str, Path], flavour: str) -> None:
    model = onnx.load(exported[flavour])
    assert lint(model, flavour, (10, 3)) == ()
    integers = sum(n.op_type == ("Cast" if flavour == "coreml-w8" else "QuantizeLinear") for n in model.graph.node)
    assert integers > 20
    if flavour in BOTH:  # a graph without Q/DQ breaks no rule about them
        assert all(lint(model, other) for other in RULES if other != flavour)


def test_the_command(exported: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(exported["trt"]), "--flavour", "trt", "--tensorrt", "10.3"]) == 0
    assert "no violations" in capsys.readouterr().out
    assert main([str(exported["cpu"]), "--flavour", "trt"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].count(": ") == 2 and lines[-1].endswith("violations")


def test_mistakes(exported: dict[str, Path], tmp_path: Path) -> None:
    for arguments, message in ((["--flavour", "tr"], "did you mean trt"), (["--tensorrt", "ten"], "'ten'")):
        with pytest.raises(UserError, match=message):
            main([str(exported["cpu"]), *arguments])
    path, content = tmp_path / "m.onnx", small("cpu").SerializeToString()
    with pytest.raises(UserError, match="cannot read"):
        main([str(path)])
    for size in (10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match="not a whole ONNX model"):
            main([str(path)])
