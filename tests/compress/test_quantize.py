"""The int8 file: what is quantised, how, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, numpy_helper

from compress.quantize import QuantizedNodes, quantize_cpu, select_nodes
from compress.to_onnx import write_onnx
from runtime.errors import UserError
from training.flavour import KEEP_FLOAT, QuantizeSpec
from training.network import build

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
    nodes = quantize_cpu(float_file, path, CROPS, QuantizeSpec())
    return path, onnx.load(path), nodes


def test_every_weighted_node_is_either_quantised_or_kept(float_file: Path) -> None:
    model = onnx.load(float_file)
    nodes = select_nodes(model, KEEP_FLOAT)
    constants = {tensor.name for tensor in model.graph.initializer}
    weighted = {n.name for n in model.graph.node if n.op_type in ("Conv", "Gemm") and n.input[1] in constants}
    assert set(nodes.quantized) | set(nodes.kept_float) == weighted
    assert not set(nodes.quantized) & set(nodes.kept_float)
    assert any(name.startswith("/backbone") for name in nodes.quantized)
    for part in ("/extract/heatmap.0", "/extract/heatmap.1", "/pose.0/mlp", "/hand.1/", "/translation/"):
        assert any(name.startswith(part) for name in nodes.kept_float), part


def test_weights_are_per_channel_symmetric_and_7_bits(quantized: tuple[Path, ModelProto, QuantizedNodes]) -> None:
    _, model, _ = quantized
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    kernels = {name: value for name, value in tensors.items() if value.dtype == np.int8 and value.ndim > 1}
    assert len(kernels) > 50
    assert max(np.abs(value.astype(int)).max() for value in kernels.values()) <= 64
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in kernels:
            scale, zero_point = tensors[node.input[1]], tensors[node.input[2]]
            assert scale.size in kernels[node.input[0]].shape and not zero_point.any()


def test_attention_softmax_and_norms_stay_in_float(quantized: tuple[Path, ModelProto, QuantizedNodes]) -> None:
    _, model, _ = quantized
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    for node in model.graph.node:
        if node.op_type in ("Softmax", "MatMul"):
            assert not dequantized & set(node.input), node.name
        elif node.op_type == "LayerNormalization":
            assert not dequantized & set(node.input[1:]), node.name


def test_a_convolution_and_its_relu_are_rounded_once(quantized: tuple[Path, ModelProto, QuantizedNodes]) -> None:
    _, model, nodes = quantized
    rounded = {node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    relus = {node.input[0] for node in model.graph.node if node.op_type == "Relu"}
    made = {node.output[0] for node in model.graph.node if node.op_type == "Conv" and node.name in nodes.quantized}
    assert len(made) > 40 and made <= rounded and not made & relus
    zero_points = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.name.endswith("_zero_point")}
    after_relu = [name for name in made if name.endswith("Relu_output_0")]
    assert len(after_relu) == 29 and all(zero_points[f"{name}_zero_point"] == 0 for name in after_relu)


def test_full_range_uses_8_bits(float_file: Path, tmp_path: Path) -> None:
    quantize_cpu(float_file, tmp_path / "full.onnx", CROPS, QuantizeSpec(reduce_range=False))
    tensors = [numpy_helper.to_array(t) for t in onnx.load(tmp_path / "full.onnx").graph.initializer]
    assert max(np.abs(t.astype(int)).max() for t in tensors if t.dtype == np.int8 and t.ndim > 1) == 127


def test_keep_float(float_file: Path) -> None:
    model = onnx.load(float_file)
    nodes = select_nodes(model, (*KEEP_FLOAT, "^/fuse/"))
    assert not any(name.startswith("/fuse/") for name in nodes.quantized)
    with pytest.raises(UserError, match="matches none"):
        select_nodes(model, ("no_such_node",))
    with pytest.raises(UserError, match="not a regular expression"):
        select_nodes(model, ("(",))
    with pytest.raises(UserError, match="leaves nothing"):
        select_nodes(model, (".",))


def test_a_quantised_file_is_refused(quantized: tuple[Path, ModelProto, QuantizedNodes], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="quantised already"):
        quantize_cpu(quantized[0], tmp_path / "twice.onnx", CROPS, QuantizeSpec())
