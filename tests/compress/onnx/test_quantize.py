"""The int8 file: what is quantised, how, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from compress.onnx.flavours import folded_relus, quantize
from compress.onnx.quantize import QuantizedNodes, select_nodes
from runtime.errors import UserError

CROPS = np.random.default_rng(0).integers(0, 256, (4, 160, 160, 3), np.uint8)


@pytest.fixture(scope="module")
def quantized(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelProto, QuantizedNodes]:
    path = tmp_path_factory.mktemp("int8") / "int8.onnx"
    nodes = quantize(nano, path, CROPS)
    return path, onnx.load(path), nodes


def test_what_reads_off_coordinates_and_poses_stays_float(nano: Path) -> None:
    nodes = select_nodes(onnx.load(nano))
    assert any(name.startswith("/backbone") for name in nodes.quantized)
    last = {
        f"/{part}" for part in ("extract/heatmap/Conv", "regress/pose/mlp/mlp.2/Conv", "regress/pooled/pooled.2/Gemm")
    }
    assert set(nodes.kept_float) == last | {"/backbone/layers/layers.0/layers.0.0/c/Conv"}


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


def test_no_two_neighbouring_products_overflow_16_bits(quantized: tuple[Path, ModelProto, QuantizedNodes]) -> None:
    """Depthwise products, one to an output and place, have no neighbours."""
    _, model, nodes = quantized
    kernels = kernels_of(model, nodes.quantized)
    assert len(kernels) == len(nodes.quantized) > 50
    largest = []
    for integers, scale, axis in kernels:
        assert integers.dtype == np.int8 and scale.shape == (integers.shape[axis],)
        rows = np.moveaxis(integers.astype(int), axis, 0)
        largest.append(np.abs(rows).max())
        if rows.shape[1] > 1:
            even = rows[:, : rows.shape[1] // 2 * 2]
            assert 255 * max(np.abs(even[:, ::2] + even[:, 1::2]).max(), largest[-1]) <= np.iinfo(np.int16).max
    assert min(largest) > 64


def test_a_convolution_and_its_relu_are_rounded_once(
    nano: Path, quantized: tuple[Path, ModelProto, QuantizedNodes]
) -> None:
    _, model, nodes = quantized
    source = onnx.load(nano)
    readers = {relu.input[0] for relu in folded_relus(source, nodes)}
    before_relu = {node.name for node in source.graph.node if node.output[0] in readers}
    zero_points = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    roundings = {node.input[0]: node for node in model.graph.node if node.op_type == "QuantizeLinear"}
    relus = {node.input[0] for node in model.graph.node if node.op_type == "Relu"}
    made = {n.name: n.output[0] for n in model.graph.node if n.op_type == "Conv" and n.name in nodes.quantized}
    assert len(made) > 40 and set(made.values()) <= set(roundings) and not set(made.values()) & relus
    assert len(before_relu) == 29
    assert all(zero_points[roundings[made[name]].input[2]] == 0 for name in before_relu)


def test_full_range_uses_8_bits(nano: Path, tmp_path: Path) -> None:
    nodes = quantize(nano, tmp_path / "full.onnx", CROPS, reduce_range=False)
    kernels = kernels_of(onnx.load(tmp_path / "full.onnx"), nodes.quantized)
    assert max(np.abs(integers.astype(int)).max() for integers, _, _ in kernels) == 127


def test_a_quantised_file_is_refused(quantized: tuple[Path, ModelProto, QuantizedNodes], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="quantised already"):
        quantize(quantized[0], tmp_path / "twice.onnx", CROPS)
