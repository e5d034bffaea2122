"""Model files that declare more than they hold are refused before anything is allocated for them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.backends.onnx_sizes import MAX_ELEMENTS, check_declared_sizes
from runtime.backends.opening import open_backend
from runtime.errors import UserError

Change = Callable[[onnx.ModelProto], None]


def changed(model: Path, change: Change) -> Path:
    """A copy of a model file with something in it changed."""
    proto = onnx.load(model)
    change(proto)
    path = model.with_name("changed.onnx")
    path.write_bytes(proto.SerializeToString())
    return path


def sizes(*numbers: int) -> Any:
    return numpy_helper.from_array(np.array(numbers, np.int64), "sizes")


def add(operator: str, inputs: list[str], *tensors: Any, **attributes: Any) -> Change:
    """Add a node whose result nobody needs, and its constants."""

    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer.extend(tensors)
        model.graph.node.append(helper.make_node(operator, inputs, ["added"], **attributes))

    return change


def declare(*dimensions: int) -> Change:
    """The first tensor says that it is larger than it is."""

    def change(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        del tensor.dims[:]
        tensor.dims.extend(dimensions)

    return change


def external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def sparse(model: onnx.ModelProto) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    places = numpy_helper.from_array(np.zeros(1, np.int64), "p")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [1 << 40]))


def function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    model.functions.append(helper.make_function("own", "F", ["x"], ["y"], [node], [helper.make_opsetid("", 17)]))


def computed_size(model: onnx.ModelProto) -> None:
    add("Mul", ["sizes", "sizes"], sizes(1 << 20))(model)
    model.graph.node.append(helper.make_node("ConstantOfShape", ["added"], ["more"]))


def constant_node(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=sizes(1 << 40)))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["c"], ["more"]))


def branch(model: onnx.ModelProto) -> None:
    inner = helper.make_graph([], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["zero"], [], then_branch=inner, else_branch=inner))


BAD: dict[str, tuple[Change, str]] = {
    "a tensor of terabytes": (declare(1 << 20, 1 << 20), "1048576 x 1048576 numbers brings"),
    "a negative size": (declare(-1, -1), "-1 x -1 numbers"),
    "many sizes": (declare(*[1 << 30] * 8), "numbers brings"),
    "data in another file": (external, "in other files"),
    "a sparse tensor": (sparse, "sparse"),
    "a function": (function, "functions of its own"),
    "a branch": (branch, "graphs within its graph"),
    "a shape of terabytes": (add("ConstantOfShape", ["sizes"], sizes(1 << 20, 1 << 20)), "unknown or absurd"),
    "a shape in a node": (constant_node, "unknown or absurd"),
    "a shape that is computed": (computed_size, "unknown or absurd"),
    "repeats": (add("Tile", ["image", "sizes"], sizes(1, 1, 1 << 16, 1 << 16)), "unknown or absurd"),
    "a broadcast": (add("Expand", ["zero", "sizes"], sizes(1 << 40)), "unknown or absurd"),
    "padding": (add("Pad", ["image", "sizes"], sizes(0, 0, 0, 0, 0, 0, 1 << 30, 1 << 30)), "unknown or absurd"),
    "noise": (add("RandomNormal", [], shape=[1 << 10, 1 << 10]), "RandomNormal makes tensors of any size"),
    "an attribute": (add("MaxPool", ["image"], kernel_shape=[1, 1], pads=[0, 0, 1 << 30, 1 << 30]), "absurd number"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused_before_the_engine_sees_it(case: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the engine was given the file")

    change, reason = BAD[case]
    path = changed(tiny_model, change)
    monkeypatch.setattr(onnxruntime, "InferenceSession", never)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=reason) as error:
            open_backend(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert "\n" not in str(error.value) and "changed.onnx" in str(error.value)


GOOD: dict[str, Change] = {
    "as it is": lambda model: None,
    "a small shape": add("ConstantOfShape", ["sizes"], sizes(4, 5)),
    "a small broadcast": add("Expand", ["zero", "sizes"], sizes(2, 3)),
    "padding": add("Pad", ["image", "sizes"], sizes(0, 0, 1, 1, 0, 0, 1, 1)),
    "numbers one by one": lambda model: model.graph.initializer.append(
        helper.make_tensor("t", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])
    ),
    "integers one by one": lambda model: model.graph.initializer.append(
        helper.make_tensor("t", TensorProto.INT64, [3], [-1, 2**62, 3])
    ),
    "bytes": lambda model: model.graph.initializer.append(
        helper.make_tensor("t", TensorProto.UINT8, [300], bytes(300), raw=True)
    ),
    "nothing": lambda model: model.graph.initializer.append(helper.make_tensor("t", TensorProto.FLOAT, [0], [])),
}


@pytest.mark.parametrize("case", GOOD)
def test_what_the_engine_may_see(case: str, tiny_model: Path) -> None:
    check_declared_sizes(changed(tiny_model, GOOD[case]))
    assert MAX_ELEMENTS > 100_000_000  # of the largest network's weights


def test_every_cut_is_seen(tiny_model: Path, tmp_path: Path) -> None:
    """A cut within a field is an error of its own; one between fields leaves a whole, if useless, message."""
    content = tiny_model.read_bytes()
    path = tmp_path / "cut.onnx"
    refused = 0
    for length in range(1, len(content), 37):
        path.write_bytes(content[:length])
        try:
            check_declared_sizes(path)
        except UserError as error:
            refused += "cut short" in str(error) or "damaged" in str(error)
    assert refused > 0.9 * len(range(1, len(content), 37))


def test_no_file(tmp_path: Path) -> None:
    empty = tmp_path / "empty.onnx"
    empty.touch()
    for path in (tmp_path / "none.onnx", tmp_path, empty):
        with pytest.raises(UserError, match="cannot read the model"):
            check_declared_sizes(path)
