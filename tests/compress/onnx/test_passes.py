"""A rewritten graph is smaller or quicker, and computes what the other does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from compress.onnx.flavours import store_weights
from compress.onnx.lint import lint
from compress.onnx.passes import MIN_ELEMENTS, compact, store_as_int8, widen
from compress.onnx.quantize import run_quantizer
from compress.onnx.to_onnx import write_onnx
from runtime.backends.session import open_session
from runtime.runner import graph_input
from training.network import build
from training.quantisation.int8_rules import Affine

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(0, 1, (80, 64)).astype(np.float32) * RNG.uniform(0.01, 3, (80, 1)).astype(np.float32)
TABLE = RNG.normal(0, 1, (1, 64, 80)).astype(np.float32)
BIAS = RNG.normal(0, 1, 80).astype(np.float32)


def model() -> ModelProto:
    """(64, 64) -> linear -> plus a table -> plus two equal constants."""
    nodes = [
        helper.make_node("Gemm", ["a_long_name_of_the_input", "weight", "bias"], ["a_long_name"], "linear", transB=1),
        helper.make_node("Add", ["a_long_name", "table"], ["another_long_name"], "add"),
        helper.make_node("Add", ["another_long_name", "one"], ["a_third_long_name"], "plus"),
        helper.make_node("Add", ["a_third_long_name", "same"], ["out"], "plus_again"),
    ]
    constants = {"weight": WEIGHT, "bias": BIAS, "table": TABLE, "one": BIAS + 1, "same": BIAS + 1}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("a_long_name_of_the_input", TensorProto.FLOAT, (64, 64))],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, (1, 64, 80))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


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
    assert small.ByteSize() < 0.3 * model().ByteSize()


def test_a_row_of_zeros() -> None:
    empty = model()
    empty.graph.initializer[0].CopyFrom(numpy_helper.from_array(WEIGHT * (np.arange(80) > 0)[:, None], "weight"))
    expected = run(empty)
    store_as_int8(empty)
    assert np.isfinite(run(empty)).all() and np.abs(run(empty) - expected).max() < 0.1


def test_equal_bytes_of_other_types_are_not_equal() -> None:
    proto = model()
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros(4, np.int32), "i"))
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros(4, np.float32), "f"))
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros((2, 2), np.float32), "g"))
    compact(proto)
    assert len(proto.graph.initializer) == len(model().graph.initializer) - 1 + 3


# ---- a wider first layer

SIDE = 32
IMAGE = RNG.integers(0, 256, (1, 3, SIDE, SIDE)).astype(np.float32) / np.float32(255)
MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(1, 3, 1, 1)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32).reshape(1, 3, 1, 1)


@pytest.fixture
def quantized(tmp_path: Path) -> Callable[..., ModelProto]:
    def make(nodes: tuple[str, ...] = ("first", "second"), also_read: bool = False) -> ModelProto:
        constants = {
            "mean": MEAN,
            "deviation": DEVIATION,
            "w1": RNG.normal(0, 1, (8, 3, 3, 3)).astype(np.float32),
            "b1": RNG.normal(0, 1, 8).astype(np.float32),
            "w2": RNG.normal(0, 1, (4, 8, 1, 1)).astype(np.float32),
        }
        out = [1, 4, SIDE // 2, SIDE // 2]
        graph = [
            helper.make_node("Sub", ["image", "mean"], ["centred"], "subtract"),
            helper.make_node("Div", ["centred", "deviation"], ["normal"], "divide"),
            helper.make_node("Conv", ["normal", "w1", "b1"], ["c1"], "first", pads=[1] * 4, strides=[2, 2]),
            helper.make_node("Conv", ["c1", "w2"], ["out"], "second"),
        ]
        outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, out)]
        if also_read:
            graph.append(helper.make_node("Abs", ["centred"], ["other"], "other"))
            outputs.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1, 3, SIDE, SIDE]))
        inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])]
        stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
        model = helper.make_model(
            helper.make_graph(graph, "g", inputs, outputs, stored),
            opset_imports=[helper.make_opsetid("", 17)],
            ir_version=8,
        )
        source, target = tmp_path / "float.onnx", tmp_path / "int8.onnx"
        onnx.save(model, source)
        affine = {"normal": Affine(0.02, 110), "c1": Affine(0.2, 120), "out": Affine(1.0, 128)}
        run_quantizer(source, target, nodes, affine, signed=False, reduce_range=True, options={})
        return onnx.load(target)

    return make


def run_image(model: ModelProto) -> NDArray[np.float32]:
    onnx.checker.check_model(model, full_check=True)
    result: NDArray[np.float32] = open_session(model.SerializeToString()).run(None, {"image": IMAGE})[0]
    return result


def test_it_computes_the_same(quantized: Callable[..., ModelProto]) -> None:
    plain, wide = quantized(), ModelProto()
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


@pytest.mark.parametrize(
    "how",
    [{"nodes": ("second",)}, {"also_read": True}],
    ids=["the first layer is float", "its input is read elsewhere"],
)
def test_anything_else_is_left_alone(quantized: Callable[..., ModelProto], how: dict[str, object]) -> None:
    model = quantized(**how)
    before = model.SerializeToString(deterministic=True)
    assert not widen(model)
    assert model.SerializeToString(deterministic=True) == before


# ---- weights alone

CROP = np.random.default_rng(0).integers(0, 256, (160, 160, 3), np.uint8)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, tuple[str, ...]]:
    """er-nano in float, with stored weights, and the names of these."""
    folder = tmp_path_factory.mktemp("smaller")
    torch.manual_seed(0)
    write_onnx(build("er-nano").eval(), folder / "float.onnx")
    stored = store_weights(folder / "float.onnx", folder / "stored.onnx")
    return folder / "float.onnx", folder / "stored.onnx", stored


def run_file(path: Path, optimised: Path | None = None) -> list[NDArray[np.float32]]:
    session = open_session(path, optimised_path=optimised)
    outputs: list[NDArray[np.float32]] = session.run(None, {"image": graph_input(CROP)})
    return outputs


def test_it_is_smaller_and_computes_nearly_the_same(files: tuple[Path, Path, tuple[str, ...]]) -> None:
    source, target, stored = files
    large = [
        tensor.name
        for tensor in onnx.load(source).graph.initializer
        if len(tensor.dims) > 1 and np.prod(tensor.dims) >= MIN_ELEMENTS
    ]
    assert sorted(stored) == sorted(large) and len(stored) > 20
    assert target.stat().st_size < 0.35 * source.stat().st_size
    pairs = list(zip(run_file(source), run_file(target), strict=True))
    assert any((a != b).any() for a, b in pairs)
    for expected, actual in pairs:
        assert np.abs(actual - expected).max() < 0.03 * max(1.0, np.abs(expected).max())


def test_each_weight_is_rounded_to_its_rows_steps(files: tuple[Path, Path, tuple[str, ...]]) -> None:
    source, target, _ = files
    before = {n.name: n for n in onnx.load(source).graph.node}
    weights = {t.name: numpy_helper.to_array(t) for t in onnx.load(source).graph.initializer}
    model = onnx.load(target)
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    looked_at = 0
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm") and node.input[1] in makers:
            scaled = makers[node.input[1]]
            integers, scale = constants[makers[scaled.input[0]].input[0]], constants[scaled.input[1]]
            assert integers.dtype == np.int8
            weight = weights[before[node.name].input[1]]
            assert (np.abs(integers * scale - weight) <= 0.5001 * scale).all()
            looked_at += 1
    assert looked_at > 20


def test_runtimes_turn_weights_back_once(files: tuple[Path, Path, tuple[str, ...]], tmp_path: Path) -> None:
    source, target, stored = files
    assert Counter(n.op_type for n in onnx.load(target).graph.node)["Cast"] == len(stored)
    run_file(source, tmp_path / "float.onnx")
    run_file(target, tmp_path / "stored.onnx")
    running = [
        Counter(n.op_type for n in onnx.load(tmp_path / f"{name}.onnx").graph.node) for name in ("float", "stored")
    ]
    assert running[0] == running[1]
