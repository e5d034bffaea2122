"""The widened first layer computes what the plain one does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from compress.onnx.first_layer import widen
from compress.onnx.lint import lint
from compress.onnx.quantize import run_quantizer
from training.int8_rules import Affine

SIDE = 32
RNG = np.random.default_rng(0)
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


def run(model: ModelProto) -> NDArray[np.float32]:
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    result: NDArray[np.float32] = session.run(None, {"image": IMAGE})[0]
    return result


def test_it_computes_the_same(quantized: Callable[..., ModelProto]) -> None:
    plain, wide = quantized(), ModelProto()
    wide.CopyFrom(plain)
    assert widen(wide)
    assert np.array_equal(run(wide), run(plain))
    assert np.ptp(run(plain)) > 10
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
