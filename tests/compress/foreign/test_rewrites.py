"""Rewritten graphs compute what they computed before."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.foreign.rewrites import drop_unread_constants, split_prelus, store_halves, widen_by_convolution
from runtime.backends.session import open_session

IMAGE = np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def network() -> onnx.ModelProto:
    """Convolution, PReLU with slopes of both signs and above 1, widening from 4 to 6 channels."""
    random = np.random.default_rng(0)
    constants = {
        "weight": random.normal(size=(4, 3, 3, 3)).astype(np.float16).astype(np.float32),
        "slope": np.array([-1.3, 0.25, 1.0, 3.5], np.float32).reshape(4, 1, 1),
        "pads": np.array([0, 0, 0, 0, 0, 2, 0, 0]),
        "unread": np.ones(5, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["x"], "conv"),
        helper.make_node("PRelu", ["x", "slope"], ["y"], "prelu"),
        helper.make_node("Pad", ["y", "pads"], ["z"], "pad"),
    ]
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, IMAGE.shape)],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, (1, 6, 6, 6))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def output(model: onnx.ModelProto) -> np.ndarray:
    onnx.checker.check_model(model)
    return open_session(model.SerializeToString(), 1).run(None, {"image": IMAGE})[0]


def operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


def test_prelus_and_widenings_become_convolutions(network: onnx.ModelProto) -> None:
    before = output(network)
    assert split_prelus(network) == 1
    assert widen_by_convolution(network) == 1
    drop_unread_constants(network)
    assert operators(network) == {"Conv", "Relu", "Add"}
    assert not {"unread", "slope", "pads"} & {tensor.name for tensor in network.graph.initializer}
    np.testing.assert_allclose(output(network), before, atol=1e-5)


def test_other_paddings_stay(network: onnx.ModelProto) -> None:
    network.graph.initializer[2].CopyFrom(numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 2, 1, 1]), "pads"))
    assert widen_by_convolution(network) == 0
    assert "Pad" in operators(network)


def test_only_what_is_exact_is_stored_as_half(network: onnx.ModelProto) -> None:
    before = output(network)
    assert store_halves(network) == 2  # the weights and the ones; not the slopes
    types = {tensor.name: tensor.data_type for tensor in network.graph.initializer}
    assert types["weight_half"] == TensorProto.FLOAT16
    assert types["slope"] == TensorProto.FLOAT
    np.testing.assert_array_equal(output(network), before)
