"""fp16 files: made graphs that overflow or vanish in fp16, and a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from compress.onnx.half import (
    FP16_MAX,
    KEEP_FP32_TYPES,
    convert_to_fp16,
    float_tensors,
    rounded_to_fp16,
    to_half,
)
from compress.onnx.to_onnx import write_onnx
from runtime.errors import UserError
from runtime.runner import graph_input
from training.network import build

SIZE = 8
CROPS = np.random.default_rng(0).integers(1, 256, (3, SIZE, SIZE, 3), np.uint8)


def graph(nodes: list[NodeProto], constants: dict[str, float], channels: int = 3) -> ModelProto:
    """image -> nodes -> out."""
    values = [
        helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, SIZE, SIZE)),
        helper.make_tensor_value_info("out", TensorProto.FLOAT, (1, channels, SIZE, SIZE)),
    ]
    tensors = [numpy_helper.from_array(np.float32(value), name) for name, value in constants.items()]
    made = helper.make_graph(nodes, "g", values[:1], values[1:], tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def node(operator: str, inputs: str, output: str) -> NodeProto:
    return helper.make_node(operator, inputs.split(), [output], f"/{output}/{operator}")


def multiplied(*factors: float) -> ModelProto:
    """The image times one factor after the other."""
    names = ["image", *(f"t{i}" for i in range(1, len(factors))), "out"]
    nodes = [node("Mul", f"{names[i]} k{i}", names[i + 1]) for i in range(len(factors))]
    return graph(nodes, {f"k{i}": factor for i, factor in enumerate(factors)})


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


OVERFLOW = (100.0, 1000.0, 100.0, 0.001, 0.001)  # 100, 100 000, 10 000 000, 10 000, 10


def test_an_overflow_shows_when_rounded_and_onnxruntime_hides_it(tmp_path: Path) -> None:
    source = saved(multiplied(*OVERFLOW), tmp_path)
    assert convert_to_fp16(source, tmp_path / "half.onnx") == ()
    half = onnx.load(tmp_path / "half.onnx")
    assert np.isinf(run(rounded_to_fp16(half))[0]).any()
    assert np.isfinite(run(half)[0]).all()


def test_what_overflows_is_kept_in_fp32(tmp_path: Path) -> None:
    source = saved(multiplied(*OVERFLOW), tmp_path)
    kept = convert_to_fp16(source, tmp_path / "half.onnx", CROPS)
    assert [k.node for k in kept] == ["/t2/Mul", "/t3/Mul", "/t4/Mul"]
    assert "t2 reaches 1e+05" in kept[0].reason and "65504" in kept[0].reason
    half = onnx.load(tmp_path / "half.onnx")
    found = types(half)
    assert [found[name] for name in ("t1", "t2", "t3", "t4")] == [TensorProto.FLOAT16] + 3 * [TensorProto.FLOAT]
    assert found["image"] == found["out"] == TensorProto.FLOAT
    expected = run(onnx.load(source))[0]
    assert np.allclose(run(rounded_to_fp16(half))[0], expected, rtol=4e-3, atol=0)


def test_what_vanishes_is_kept_in_fp32(tmp_path: Path) -> None:
    source = saved(multiplied(1e-3, 1e-3, 1e6), tmp_path)
    expected = run(onnx.load(source))[0]
    convert_to_fp16(source, tmp_path / "rough.onnx")
    rough = run(rounded_to_fp16(onnx.load(tmp_path / "rough.onnx")))[0]
    kept = convert_to_fp16(source, tmp_path / "half.onnx", CROPS)
    fine = run(rounded_to_fp16(onnx.load(tmp_path / "half.onnx")))[0]
    assert [k.node for k in kept] == ["/t2/Mul", "/out/Mul"]  # 1e6 is more than fp16 holds, too
    assert np.abs(fine - expected).max() < 2e-3 < 1e-2 < np.abs(rough - expected).max()


def test_constants_beyond_fp16_are_kept_without_crops(tmp_path: Path) -> None:
    source = saved(multiplied(1e-5, 2 * FP16_MAX), tmp_path)
    kept = convert_to_fp16(source, tmp_path / "half.onnx")
    assert {k.node: k.reason.split()[0] for k in kept} == {"/t1/Mul": "k0", "/out/Mul": "k1"}


def hidden() -> ModelProto:
    """1 / (image, and tiny values of it): no tensor is tiny as a whole, but the tiny values are 0 in fp16."""
    nodes = [
        node("Mul", "image small", "tiny"),
        helper.make_node("Concat", ["image", "tiny"], ["both"], "/both/Concat", axis=1),
        node("Relu", "both", "same"),
        node("Div", "one same", "huge"),
        node("Mul", "huge small", "out"),
    ]
    return graph(nodes, {"small": 1e-9, "one": 1.0}, channels=6)


def test_a_value_that_only_the_rounded_file_loses_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no fp16: /huge/Div \(Div\) overflows on rounded values"):
        convert_to_fp16(saved(hidden(), tmp_path), tmp_path / "half.onnx", CROPS)
    assert not (tmp_path / "half.onnx").exists()


def test_what_is_not_finite_anyway_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"/t2/Mul \(Mul\) is not finite even in fp32"):
        convert_to_fp16(saved(multiplied(1e30, 1e30, 1e-30), tmp_path), tmp_path / "half.onnx", CROPS)


def test_a_constant_read_in_both_types_and_a_tensor_turned_once() -> None:
    nodes = [
        node("Mul", "image k", "a"),
        node("Add", "a k", "b"),
        node("Sub", "a k", "c"),
        node("Mul", "b c", "out"),
    ]
    half = to_half(graph(nodes, {"k": 0.5}), {"/b/Add", "/c/Sub"})
    casts = [n for n in half.graph.node if n.op_type == "Cast"]
    assert sorted(n.input[0] for n in casts) == ["a", "b", "c", "image", "out_fp16"]
    assert {t.name: t.data_type for t in half.graph.initializer} == {
        "k": TensorProto.FLOAT,
        "k_fp16": TensorProto.FLOAT16,
    }


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """er-nano as fp32 and fp16 files."""
    folder = tmp_path_factory.mktemp("half")
    torch.manual_seed(0)
    made = build("er-nano").eval()
    for parameter in made.parameters():  # untrained, some layers give next to nothing
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    write_onnx(made, folder / "float.onnx")
    crops = np.random.default_rng(0).integers(0, 256, (2, 160, 160, 3), np.uint8)
    convert_to_fp16(folder / "float.onnx", folder / "half.onnx", crops)
    return folder / "float.onnx", folder / "half.onnx"


def test_a_network_in_fp16(network: tuple[Path, Path]) -> None:
    source, path = network
    model, half = onnx.load(source), onnx.load(path)
    found, floats, outputs = types(half), set(float_tensors(model)), {output.name for output in model.graph.output}
    for old in model.graph.node:
        wanted = TensorProto.FLOAT if old.op_type in KEEP_FP32_TYPES else TensorProto.FLOAT16
        assert all(found[name] == wanted for name in old.output if name in floats and name not in outputs), old.name
    assert [(v.name, v.type) for v in half.graph.output] == [(v.name, v.type) for v in model.graph.output]
    assert path.stat().st_size < 0.56 * source.stat().st_size
    casts = sum(n.op_type == "Cast" for n in half.graph.node)
    assert casts < 2 * sum(n.op_type in KEEP_FP32_TYPES for n in half.graph.node) + 10


def test_its_rounded_outputs_are_near_those_of_fp32(network: tuple[Path, Path]) -> None:
    source, path = network
    crop = np.random.default_rng(1).integers(0, 256, (160, 160, 3), np.uint8)
    exact, rounded = (run(m, crop) for m in (onnx.load(source), rounded_to_fp16(onnx.load(path))))
    assert any((a != b).any() for a, b in zip(exact, rounded, strict=True))
    for a, b in zip(exact, rounded, strict=True):
        assert np.abs(a - b).max() < 0.02 * max(np.abs(a).max(), 1)
