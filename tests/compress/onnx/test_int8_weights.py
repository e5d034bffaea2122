"""Weights stored as int8: smaller, the same hands, and nothing left to do for each image."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from compress.onnx.flavours import quantize
from compress.onnx.int8_weights import store_weights
from compress.onnx.storage import MIN_ELEMENTS
from compress.onnx.to_onnx import write_onnx
from runtime.errors import UserError
from runtime.runner import graph_input
from training.int8_rules import QuantizeSpec
from training.network import build

CROP = np.random.default_rng(0).integers(0, 256, (160, 160, 3), np.uint8)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, tuple[str, ...]]:
    """er-nano in float, with stored weights, and the names of these."""
    folder = tmp_path_factory.mktemp("smaller")
    torch.manual_seed(0)
    write_onnx(build("er-nano").eval(), folder / "float.onnx")
    stored = store_weights(folder / "float.onnx", folder / "stored.onnx")
    return folder / "float.onnx", folder / "stored.onnx", stored


def run(path: Path, optimised: Path | None = None) -> list[NDArray[np.float32]]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
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
    pairs = list(zip(run(source), run(target), strict=True))
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
    run(source, tmp_path / "float.onnx")
    run(target, tmp_path / "stored.onnx")
    running = [
        Counter(n.op_type for n in onnx.load(tmp_path / f"{name}.onnx").graph.node) for name in ("float", "stored")
    ]
    assert running[0] == running[1]


def test_a_quantised_file_is_refused(
    files: tuple[Path, Path, tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ER_EDGE_CACHE", str(tmp_path / "cache"))
    quantize(files[0], tmp_path / "int8.onnx", CROP[None], QuantizeSpec())
    with pytest.raises(UserError, match="quantised already"):
        store_weights(tmp_path / "int8.onnx", tmp_path / "twice.onnx")
