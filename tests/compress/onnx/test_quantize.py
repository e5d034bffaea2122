"""The int8 file: what is quantised, how, and what is refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from compress.onnx.flavours import folded_relus, quantize
from compress.onnx.quantize import QuantizedNodes, select_nodes
from compress.onnx.to_onnx import write_onnx
from runtime.errors import UserError
from training.network import build
from training.quantisation.int8_rules import KEEP_FLOAT, QuantizeSpec

CROPS = np.random.default_rng(0).integers(0, 256, (4, 160, 160, 3), np.uint8)


@pytest.fixture(scope="module")
def float_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = build("er-nano").eval()
    for parameter in network.parameters():  # no two tensors alike: onnxruntime would share them
        parameter.data.add_(0.01 * torch.randn_like(parameter))
    path = tmp_path_factory.mktemp("float") / "nano.onnx"
    write_onnx(network, path)
    return path


@pytest.fixture(scope="module")
def quantized(float_file: Path) -> tuple[Path, ModelProto, QuantizedNodes]:
    path = float_file.with_name("int8.onnx")
    nodes = quantize(float_file, path, CROPS, QuantizeSpec())
    return path, onnx.load(path), nodes


def test_every_weighted_node_is_either_quantised_or_kept(float_file: Path) -> None:
    model = onnx.load(float_file)
    nodes = select_nodes(model, KEEP_FLOAT)
    constants = {tensor.name for tensor in model.graph.initializer}
    weighted = {n.name for n in model.graph.node if n.op_type in ("Conv", "Gemm") and n.input[1] in constants}
    assert set(nodes.quantized) | set(nodes.kept_float) == weighted
    assert not set(nodes.quantized) & set(nodes.kept_float)
    assert any(name.startswith("/backbone") for name in nodes.quantized)
    ends = ("regress/pose.0/mlp", "regress/hand.1/", "regress/translation/")
    for part in ("/extract/heatmap.0", "/extract/heatmap.1", *(f"/{end}" for end in ends)):
        assert any(name.startswith(part) for name in nodes.kept_float), part


def kernels_of(model: ModelProto, names: tuple[str, ...]) -> list[tuple[NDArray[Any], NDArray[Any], int]]:
    """Integers, scales and axis of the weights of these nodes."""
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node}
    found = []
    for node in model.graph.node:
        if node.name in names:
            maker = makers[node.input[1]]
            assert maker.op_type == "DequantizeLinear" and not tensors[maker.input[2]].any()
            found.append((tensors[maker.input[0]], tensors[maker.input[1]], maker.attribute[0].i))
    return found


def test_weights_are_per_channel_symmetric_and_7_bits(quantized: tuple[Path, ModelProto, QuantizedNodes]) -> None:
    _, model, nodes = quantized
    kernels = kernels_of(model, nodes.quantized)
    assert len(kernels) == len(nodes.quantized) > 50
    for integers, scale, axis in kernels:
        assert integers.dtype == np.int8 and np.abs(integers.astype(int)).max() <= 64
        assert scale.shape == (integers.shape[axis],)


def test_attention_softmax_and_norms_stay_in_float(quantized: tuple[Path, ModelProto, QuantizedNodes]) -> None:
    _, model, _ = quantized
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    for node in model.graph.node:
        if node.op_type in ("Softmax", "MatMul"):
            assert not dequantized & set(node.input), node.name
        elif node.op_type == "LayerNormalization":
            assert not dequantized & set(node.input[1:]), node.name


def test_a_convolution_and_its_relu_are_rounded_once(
    float_file: Path, quantized: tuple[Path, ModelProto, QuantizedNodes]
) -> None:
    _, model, nodes = quantized
    source = onnx.load(float_file)
    readers = {relu.input[0] for relu in folded_relus(source, nodes)}
    before_relu = {node.name for node in source.graph.node if node.output[0] in readers}
    zero_points = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    roundings = {node.input[0]: node for node in model.graph.node if node.op_type == "QuantizeLinear"}
    relus = {node.input[0] for node in model.graph.node if node.op_type == "Relu"}
    made = {n.name: n.output[0] for n in model.graph.node if n.op_type == "Conv" and n.name in nodes.quantized}
    assert len(made) > 40 and set(made.values()) <= set(roundings) and not set(made.values()) & relus
    assert len(before_relu) == 29
    assert all(zero_points[roundings[made[name]].input[2]] == 0 for name in before_relu)


def test_full_range_uses_8_bits_and_loggers_stay_as_they_were(float_file: Path, tmp_path: Path) -> None:
    logging.disable(logging.ERROR)
    nodes = quantize(float_file, tmp_path / "full.onnx", CROPS, QuantizeSpec(reduce_range=False))
    assert logging.root.manager.disable == logging.ERROR
    logging.disable(logging.NOTSET)
    kernels = kernels_of(onnx.load(tmp_path / "full.onnx"), nodes.quantized)
    assert max(np.abs(integers.astype(int)).max() for integers, _, _ in kernels) == 127


def test_keep_float(float_file: Path) -> None:
    model = onnx.load(float_file)
    nodes = select_nodes(model, (*KEEP_FLOAT, "^/regress/fuseformer/"))
    assert not any(name.startswith("/regress/fuseformer/") for name in nodes.quantized)
    with pytest.raises(UserError, match="matches none"):
        select_nodes(model, ("no_such_node",))
    with pytest.raises(UserError, match="not a regular expression"):
        select_nodes(model, ("(",))
    with pytest.raises(UserError, match="leaves nothing"):
        select_nodes(model, (".",))


def test_a_quantised_file_is_refused(quantized: tuple[Path, ModelProto, QuantizedNodes], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="quantised already"):
        quantize(quantized[0], tmp_path / "twice.onnx", CROPS, QuantizeSpec())
