"""fp16 files: made graphs that overflow or vanish in fp16, and a network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from compress.onnx.half import KEEP_FP32_TYPES, convert_to_fp16, float_tensors, to_half
from runtime.errors import UserError
from runtime.runner import graph_input
from tests.fixtures.graphs import parse_graph

SIZE = 8
CROPS = np.random.default_rng(0).integers(1, 256, (3, SIZE, SIZE, 3), np.uint8)


def graph(nodes: str, constants: dict[str, float]) -> ModelProto:
    """image -> nodes -> out."""
    values = {name: np.float32(value) for name, value in constants.items()}
    return parse_graph(f"(float[1, 3, 8, 8] image) => (float[1, 3, 8, 8] out) {{ {nodes} }}", values)


def multiplied(*factors: float) -> ModelProto:
    """The image times one factor after the other."""
    names = ["image", *(f"t{i}" for i in range(1, len(factors))), "out"]
    nodes = [f"{names[i + 1]} = Mul ({names[i]}, k{i})" for i in range(len(factors))]
    return graph("\n".join(nodes), {f"k{i}": factor for i, factor in enumerate(factors)})


def saved(model: ModelProto, folder: Path) -> Path:
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, folder / "float.onnx")
    return folder / "float.onnx"


def run(model: ModelProto, crop: NDArray[np.uint8] = CROPS[0]) -> list[NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: list[NDArray[np.float32]] = session.run(None, {"image": graph_input(crop)})
    return result


def types(model: ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    return {v.name: v.type.tensor_type.elem_type for v in [*inferred.input, *inferred.value_info, *inferred.output]}


def made_types(model: ModelProto, nodes: Iterable[str]) -> list[int]:
    """Of the nodes' first outputs."""
    found, made = types(model), {node.name: node.output[0] for node in model.graph.node}
    return [found[made[name]] for name in nodes]


def test_what_overflows_is_kept_in_fp32(tmp_path: Path) -> None:
    source = saved(multiplied(100.0, 1000.0, 100.0, 0.001, 0.001), tmp_path)  # 100, 100 000, 10 000 000, 10 000, 10
    kept = convert_to_fp16(source, tmp_path / "half.onnx", CROPS)
    assert list(kept) == ["t2", "t3", "t4"]
    assert kept["t2"].startswith("t2 reaches 1e+05")
    half = onnx.load(tmp_path / "half.onnx")
    assert made_types(half, ("t1", "t2", "t3", "t4")) == [TensorProto.FLOAT16] + 3 * [TensorProto.FLOAT]
    assert sum(n.op_type == "Cast" for n in half.graph.node) == 4  # at both ends, and around what is kept
    assert types(half)["image"] == types(half)["out"] == TensorProto.FLOAT


def test_what_vanishes_is_kept_in_fp32(tmp_path: Path) -> None:
    kept = convert_to_fp16(saved(multiplied(1e-3, 1e-3, 1e6), tmp_path), tmp_path / "half.onnx", CROPS)
    assert list(kept) == ["t2", "out"]  # 1e6 is more than fp16 holds, too


def test_what_is_not_finite_anyway_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"t2 \(Mul\) is not finite even in fp32"):
        convert_to_fp16(saved(multiplied(1e30, 1e30, 1e-30), tmp_path), tmp_path / "half.onnx", CROPS)


def test_a_constant_that_is_read_in_both_types() -> None:
    nodes = "a = Mul (image, k)  b = Add (a, k)  c = Sub (a, k)  out = Mul (b, c)"
    half = to_half(graph(nodes, {"k": 0.5}), ["b", "c"])
    assert made_types(half, "abc") == [TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.FLOAT]
    assert sum(n.op_type == "Cast" for n in half.graph.node) <= 6


def test_a_network_in_fp16(nano: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    convert_to_fp16(nano, path, np.random.default_rng(0).integers(0, 256, (2, 160, 160, 3), np.uint8))
    model, half = onnx.load(nano), onnx.load(path)
    floats, outputs = set(float_tensors(model)), {output.name for output in model.graph.output}
    for old in model.graph.node:
        wanted = TensorProto.FLOAT if old.op_type in KEEP_FP32_TYPES else TensorProto.FLOAT16
        if old.output[0] in floats and old.output[0] not in outputs:
            assert made_types(half, [old.name]) == [wanted], old.name
    assert [(v.name, v.type) for v in half.graph.output] == [(v.name, v.type) for v in model.graph.output]
    assert path.stat().st_size < 0.56 * nano.stat().st_size
    for a, b in zip(*(run(m, np.full((160, 160, 3), 90, np.uint8)) for m in (model, half)), strict=True):
        assert 0 <= np.abs(a - b).max() < 0.02 * max(np.abs(a).max(), 1)
