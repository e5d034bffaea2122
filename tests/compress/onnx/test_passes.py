"""A rewritten graph is smaller or quicker, and computes what the other does."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from compress.onnx.flavours import store_weights
from compress.onnx.lint import lint
from compress.onnx.passes import MIN_ELEMENTS, compact, correct_biases, one_gelu, store_as_int8, widen
from compress.onnx.quantize import Affine, run_quantizer, weight_scales
from runtime.backends.session import open_session
from runtime.runner import graph_input
from tests.fixtures.graphs import parse_graph

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(0, 1, (80, 64)).astype(np.float32) * RNG.uniform(0.01, 3, (80, 1)).astype(np.float32)
TABLE = RNG.normal(0, 1, (1, 64, 80)).astype(np.float32)
BIAS = RNG.normal(0, 1, 80).astype(np.float32)


def model() -> ModelProto:
    """(64, 64) -> linear -> plus a table -> plus two equal constants."""
    text = """(float[64, 64] a_long_name_of_the_input) => (float[1, 64, 80] out) {
        a_long_name = Gemm <transB = 1> (a_long_name_of_the_input, weight, bias)
        another_long_name = Add (a_long_name, table)
        a_third_long_name = Add (another_long_name, one)
        a_fourth_long_name = Add (a_third_long_name, same)
        out = Add (a_fourth_long_name, other)
    }"""
    equal = {"one": BIAS + 1, "same": BIAS + 1, "other": BIAS[None] + 1}  # the last of another shape
    return parse_graph(text, {"weight": WEIGHT, "bias": BIAS, "table": TABLE, **equal})


def run(proto: ModelProto) -> NDArray[np.float32]:
    onnx.checker.check_model(proto, full_check=True)
    image = np.eye(64, dtype=np.float32)
    session = open_session(proto.SerializeToString())
    result: NDArray[np.float32] = session.run(None, {"a_long_name_of_the_input": image})[0]
    return result


def test_what_is_exact_changes_nothing() -> None:
    small = model()
    compact(small)
    assert np.array_equal(run(small), run(model()))
    assert [node.name for node in small.graph.node] == [node.name for node in model().graph.node]
    assert len(small.graph.initializer) == len(model().graph.initializer) - 1
    assert small.ByteSize() < model().ByteSize()


def test_constants_are_rounded_to_8_bits_of_their_row() -> None:
    small = model()
    assert store_as_int8(small) == ("weight", "table")
    assert WEIGHT.size >= MIN_ELEMENTS
    steps = np.abs(WEIGHT).max(axis=1) / 254 + np.abs(TABLE).max(axis=2)[0, :, None] / 254
    assert (np.abs(run(small) - run(model())) <= steps[None] * 1.001).all()
    assert small.ByteSize() < 0.35 * model().ByteSize()


# ---- a wider first layer

SIDE = 32
IMAGE = RNG.integers(0, 256, (1, 3, SIDE, SIDE)).astype(np.float32) / np.float32(255)
MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(1, 3, 1, 1)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32).reshape(1, 3, 1, 1)


def first_layers(folder: Path, quantized: tuple[str, ...] = ("c1", "out"), also_read: str = "") -> ModelProto:
    """Normalisation and two convolutions, of which some are quantised."""
    text = f"""(float[1, 3, {SIDE}, {SIDE}] image) => (float[1, 4, {SIDE // 2}, {SIDE // 2}] out) {{
        centred = Sub (image, mean)
        normal = Div (centred, deviation)
        c1 = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (normal, w1, b1)
        out = Conv (c1, w2)
        {also_read}
    }}"""
    shapes = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (4, 8, 1, 1)}
    constants = {name: RNG.normal(0, 1, shape).astype(np.float32) for name, shape in shapes.items()}
    source, target = folder / "float.onnx", folder / "int8.onnx"
    onnx.save(parse_graph(text, {"mean": MEAN, "deviation": DEVIATION, **constants}), source)
    model = onnx.load(source)
    affine = {"normal": Affine(0.02, 110), "c1": Affine(0.2, 120), "out": Affine(1.0, 128)}
    scales = weight_scales(model, quantized, reduce_range=True)
    run_quantizer(model, target, quantized, affine, scales, signed=False, options={})
    return onnx.load(target)


def run_image(model: ModelProto) -> NDArray[np.float32]:
    onnx.checker.check_model(model, full_check=True)
    result: NDArray[np.float32] = open_session(model.SerializeToString()).run(None, {"image": IMAGE})[0]
    return result


def test_a_wider_first_layer_computes_the_same(tmp_path: Path) -> None:
    plain, wide = first_layers(tmp_path), ModelProto()
    wide.CopyFrom(plain)
    assert widen(wide)
    assert np.array_equal(run_image(wide), run_image(plain))
    assert np.ptp(run_image(plain)) > 10
    operators = [node.op_type for node in wide.graph.node]
    assert (operators.count("BatchNormalization"), operators.count("Pad")) == (1, 1)
    assert "Sub" not in operators
    weights = {tuple(t.dims) for t in wide.graph.initializer if t.data_type == TensorProto.INT8}
    assert (8, 4, 3, 3) in weights
    assert (8, 3, 3, 3) not in weights
    assert lint(wide, "cpu") == ()


@pytest.mark.parametrize("how", [{"quantized": ("out",)}, {"also_read": "other = Abs (centred)"}])
def test_any_other_first_layer_is_left_alone(how: dict[str, Any], tmp_path: Path) -> None:
    model = first_layers(tmp_path, **how)
    before = model.SerializeToString(deterministic=True)
    assert not widen(model)
    assert model.SerializeToString(deterministic=True) == before


def test_a_gelu_becomes_one_node() -> None:
    text = """(float[1, 3, 8, 8] image) => (float[1, 3, 8, 8] out)
        { d = Div (image, root) e = Erf (d) a = Add (e, one) m = Mul (image, a) out = Mul (m, half) }"""
    constants = {"root": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)}
    spelled_out = parse_graph(text, constants)
    for number, node in enumerate(spelled_out.graph.node):
        node.name = f"/act/{number}"
    image = np.linspace(-4, 4, 192, dtype=np.float32).reshape(1, 3, 8, 8)
    joined = one_gelu(spelled_out)
    assert [(node.name, node.op_type) for node in joined.graph.node] == [("/act/Gelu", "Gelu")]
    before, after = (
        open_session(model.SerializeToString()).run(None, {"image": image})[0] for model in (spelled_out, joined)
    )
    assert np.abs(before - after).max() < 1e-6
    assert one_gelu(joined) is joined


# ---- weights alone


def test_stored_weights_are_smaller_and_turned_back_once(nano: Path, tmp_path: Path) -> None:
    crop = np.random.default_rng(0).integers(0, 256, (160, 160, 3), np.uint8)
    target = tmp_path / "stored.onnx"
    stored = store_weights(nano, target)
    large = [t.name for t in onnx.load(nano).graph.initializer if len(t.dims) > 1 and np.prod(t.dims) >= MIN_ELEMENTS]
    assert sorted(stored) == sorted(large) and len(stored) > 20
    assert target.stat().st_size < 0.35 * nano.stat().st_size
    outputs, running = [], []
    for path in (nano, target):
        session = open_session(path, optimised_path=tmp_path / "running.onnx")
        outputs.append(session.run(None, {"image": graph_input(crop)}))
        running.append(Counter(n.op_type for n in onnx.load(tmp_path / "running.onnx").graph.node))
    assert running[0] == running[1]
    for expected, actual in zip(*outputs, strict=True):
        assert np.abs(actual - expected).max() < 0.03 * max(1.0, np.abs(expected).max())


def test_biases_take_back_what_rounded_weights_add() -> None:
    """Exactly, for a constant input: then all that a layer gives is its mean."""
    weight = RNG.normal(0, 1, (8, 2, 3, 3)).astype(np.float32)
    text = "(float[1, 4, 5, 5] image) => (float[1, 8, 3, 3] out) { out = Conv <group = 2> (image, weight, bias) }"
    image = np.broadcast_to(np.array([0.5, 1, 2, -1], np.float32).reshape(1, 4, 1, 1), (1, 4, 5, 5))
    scales = (np.abs(weight).reshape(8, -1).max(axis=1) / 64).astype(np.float32)
    scale = scales.reshape(8, 1, 1, 1)
    found = {}
    for name, kernel in (("float", weight), ("rounded", (np.round(weight / scale) * scale).astype(np.float32))):
        model = parse_graph(text, {"weight": kernel, "bias": BIAS[:8]})
        model.graph.node[0].name = "conv"
        if name == "rounded":
            plain = parse_graph(text, {"weight": weight, "bias": BIAS[:8]})
            plain.graph.node[0].name = "conv"
            correct_biases(plain, {"conv": scales}, {"image": image[0, :, 0, 0].tolist()})
            next(t for t in model.graph.initializer if t.name == "bias").CopyFrom(
                next(t for t in plain.graph.initializer if t.name == "bias")
            )
        found[name] = open_session(model.SerializeToString()).run(None, {"image": image.copy()})[0]
    assert np.abs(found["rounded"] - found["float"]).max() < 1e-5
