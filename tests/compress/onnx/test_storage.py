"""The compact file computes what the other does."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from compress.onnx.storage import MIN_ELEMENTS, compact, compact_exactly, share_equal_constants, store_as_int8

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
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    image = np.eye(64, dtype=np.float32)
    result: NDArray[np.float32] = session.run(None, {"a_long_name_of_the_input": image})[0]
    return result


def test_what_is_exact_changes_nothing() -> None:
    small = model()
    compact_exactly(small)
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


def test_twice_is_once() -> None:
    small = model()
    compact(small)
    size = small.ByteSize()
    compact(small)
    assert small.ByteSize() == size


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
    share_equal_constants(proto)
    assert {"i", "f", "g"} <= {tensor.name for tensor in proto.graph.initializer}
