"""Models of LiteRT: what its quantiser is told, on a tiny model; whole exports where the converter is installed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ai_edge_quantizer")

from ai_edge_litert.interpreter import Interpreter

from compress.artefact import Artefact
from compress.export import export
from compress.litert import litert_format
from compress.litert.convert import check_converter, write_float
from compress.litert.quantize import float_layers, halve, layers_of, quantize
from compress.onnx.quantize import QuantizedNodes
from compress.request import ExportRequest
from compress.request_check import check_request
from runtime.backends.litert_engine import passport_in
from runtime.backends.opening import open_backend
from runtime.errors import UserError
from runtime.files import file_sha256
from runtime.runner import graph_input
from tests.conftest import INPUT_PX
from tests.fixtures.tiny_tflite import LAYERS, write_tiny_tflite
from training.network import build

NODES = QuantizedNodes(("/regress/pooled/pooled.0/Gemm",), ("/regress/pooled/pooled.2/Gemm",))
CROPS = np.random.default_rng(0).integers(0, 256, (8, INPUT_PX, INPUT_PX, 3), np.uint8)
STEM = "er-nano_160"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_tflite(tmp_path / "tiny.tflite")


@pytest.fixture(scope="session")
def converter() -> None:
    try:
        check_converter()
    except UserError as error:
        pytest.skip(str(error))


def kinds(model: Path) -> dict[str, str]:
    """Of each layer of a model: the type of what it gives."""
    interpreter = Interpreter(str(model))
    return {t["name"]: np.dtype(t["dtype"]).name for t in interpreter.get_tensor_details() if "Linear" in t["name"]}


def test_layers_by_their_modules(model: Path) -> None:
    layers = layers_of(model)
    assert list(layers) == list(LAYERS)
    assert float_layers(layers, NODES) == [LAYERS[1]]
    nodes = QuantizedNodes((), ("/backbone/layers.0/c/Conv", "/backbone/layers.1/attn/proj/MatMul"))
    fused = {"x": {"backbone.0.relu", "backbone.0.c"}, "y": {"regress.pooled.2"}, "z": {"backbone.1"}}
    assert float_layers(fused, nodes) == ["x", "z"]
    with pytest.raises(ValueError, match=r"no layer /backbone/layers\.0/c/Conv"):
        float_layers({"y": {"regress.pooled.2"}}, nodes)


def test_int8_keeps_a_layer_in_float_and_the_passport(model: Path) -> None:
    image = graph_input(CROPS[0] // 3)
    expected = open_backend(model).run(image)
    quantize(model, NODES, CROPS, "mse")
    assert [kinds(model)[name] for name in LAYERS] == ["int8", "float32"]
    found = open_backend(model).run(image)
    assert 0 < np.abs(found["camera"] - expected["camera"]).max() < 1e-3


def test_fp16_halves_weights(model: Path) -> None:
    halve(model)
    types = {np.dtype(t["dtype"]).name for t in Interpreter(str(model)).get_tensor_details()}
    assert "float16" in types and open_backend(model).info.precision == "fp32"  # the exporter says what it is


def test_the_passport_is_replaced(model: Path) -> None:
    artefact = Artefact("litert", "int8", "int8", path=model)
    facts = json.loads(passport_in(model.read_bytes()) or "") | {"precision": "int8"}
    for count in (1, 2):
        assert litert_format.embed(artefact, facts | {"count": count}) == {"sha256": file_sha256(model)}
        assert json.loads(passport_in(model.read_bytes()) or "") == facts | {"count": count}
    assert open_backend(model).info.precision == "int8"


def test_what_leaves_the_gpu(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert litert_format.leaves_gpu(model) == {}
    monkeypatch.setattr(litert_format, "GPU_OPERATORS", "FULLY_CONNECTED ADD MUL")
    assert litert_format.leaves_gpu(model) == {"MEAN": 1}


def test_a_converter_that_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LITERT_PYTHON", str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"^format litert needs litert-torch .*: make it with make litert, or name"):
        check_request(ExportRequest("er-nano", formats=("litert",)))


@pytest.mark.slow
def test_a_converter_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\n[ "$1" = -c ] && { echo 0.1; exit; }\necho "no such thing" >&2\nexit 1\n')
    fake.chmod(0o755)
    monkeypatch.setenv("LITERT_PYTHON", str(fake))
    with pytest.raises(UserError, match=f"litert-torch in {fake} failed: no such thing"):
        write_float(build("er-nano").eval(), tmp_path / "x.tflite")
    assert [path.name for path in tmp_path.iterdir()] == ["python"]


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "size"), [("fp32", 1.05), ("int8", 0.45)])
def test_exports(converter: None, small_request: ExportRequest, tmp_path: Path, precision: str, size: float) -> None:
    changes: dict[str, Any] = {} if precision == "int8" else {"calib_samples": 512}
    request = replace(small_request, formats=("litert",), output_dir=tmp_path, precision=precision, **changes)
    entry = export(request)
    made = entry["formats"]["litert"]
    assert made["status"] == "passed" and made["leaves_gpu"] == {}
    assert precision == "int8" or 0 < made["parity"]["vertex_mm"] < 0.02  # rounding moves random networks at will
    path = tmp_path / f"{STEM}_{precision}.tflite"
    beside = json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))
    assert json.loads(passport_in(path.read_bytes()) or "").items() <= beside.items()
    assert beside["converter"].startswith("litert-torch ") and made["latency_ms"]["times_faster_than_fp32"]
    assert path.stat().st_size < size * (tmp_path / f"{STEM}_fp32.onnx").stat().st_size
    if precision == "int8":
        assert len(beside["quantisation"]["kept_float"]) == 3 and beside["calibration"]["method"] == "mse"
