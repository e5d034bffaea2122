"""Exports as OpenVINO models: er-nano, untrained, a few images; every model is run by OpenVINO."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.export import export
from compress.onnx.graph import load_float
from compress.onnx.quantize import select_nodes
from compress.openvino import openvino_format
from compress.request import ExportRequest
from runtime.backends.openvino_engine import passport_in, read_model
from runtime.files import file_sha256

pytest.importorskip("nncf")
STEM = "er-nano_160"


def few(request: ExportRequest, folder: Path, **changes: Any) -> ExportRequest:
    return replace(request, **{"formats": ("openvino",), "output_dir": folder, "test_images": 32, **changes})


def rounded_inputs(path: Path) -> dict[str, bool]:
    """Of each layer, by its name in ONNX: whether its input comes out of a rounding."""
    found = {}
    for op in read_model(path).get_ops():
        if op.get_type_name() in ("Convolution", "GroupConvolution", "MatMul"):
            name = op.get_friendly_name().removesuffix("/WithoutBiases")
            found[name] = op.input_value(0).get_node().get_type_name() == "FakeQuantize"
    return found


@pytest.mark.slow
def test_int8(small_request: ExportRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from compress.export_report import print_result

    entry = export(few(small_request, tmp_path, formats=("onnx", "openvino"), calib_samples=16))
    made = entry["formats"]["openvino"]
    assert entry["verdict"]["status"] == made["status"] == "passed"
    model, weights = tmp_path / f"{STEM}_int8.xml", tmp_path / f"{STEM}_int8.bin"
    beside = json.loads((tmp_path / f"{STEM}_int8.xml.json").read_text())
    assert json.loads(passport_in(read_model(model)) or "").items() <= beside.items()
    assert (made["file"], made["bytes"]) == (model.name, model.stat().st_size + weights.stat().st_size)
    assert (made["sha256"], made["weights_sha256"]) == (file_sha256(model), file_sha256(weights))
    assert "framework" not in model.read_text(encoding="utf-8").rpartition("<rt_info>")[2]  # not another's passport
    fp32_bytes = (tmp_path / f"{STEM}_fp32.onnx").stat().st_size
    assert weights.stat().st_size < 0.45 * fp32_bytes
    assert beside["precision"] == "int8" and beside["calibration"]["n_images"] == 16
    assert beside["quantisation"]["quantizer"] == "nncf" and beside["tools"]["nncf"]
    assert made["latency_ms"]["median"] > 0 and made["latency_ms"]["times_faster_than_fp32"]["rounds"] > 1
    nodes = select_nodes(load_float(tmp_path / f"{STEM}_fp32.onnx"), "nncf")
    constants = [op for op in read_model(model).get_ops() if op.get_type_name() == "Constant"]
    integers = [op.get_data().astype(int) for op in constants if op.get_element_type().get_type_name() == "i8"]
    assert max(np.abs(values).max() for values in integers) == 64  # 7 bits, where no target says that 8 do not overflow
    assert beside["quantisation"]["kept_float"] == list(nodes.kept_float) != []
    rounded = rounded_inputs(model)
    assert {name for name, value in rounded.items() if value} <= set(nodes.quantized)
    assert sum(rounded[name] for name in nodes.quantized) > 0.9 * len(nodes.quantized)  # others share one
    print_result(entry, tmp_path)
    printed = capsys.readouterr().out
    assert "openvino: passed" in printed and "times the speed of fp32 in onnxruntime" in printed


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "size", "apart_mm"), [("fp32", 1.0, 0.02), ("fp16", 0.5, 3.0)])
def test_floats(small_request: ExportRequest, tmp_path: Path, precision: str, size: float, apart_mm: float) -> None:
    entry = export(few(small_request, tmp_path, precision=precision, calib_samples=512))
    made = entry["formats"]["openvino"]
    assert made["status"] == "passed" and 0 < made["parity"]["vertex_mm"] < apart_mm
    weights = (tmp_path / f"{STEM}_{precision}.bin").stat().st_size
    assert weights == pytest.approx(size * (tmp_path / f"{STEM}_fp32.onnx").stat().st_size, rel=0.06)


@pytest.mark.slow
def test_a_model_that_fails_leaves_the_onnx_files(
    small_request: ExportRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = openvino_format.open_predictor
    monkeypatch.setattr(
        openvino_format, "open_predictor", lambda *args: lambda images: real(*args)(np.zeros_like(images))
    )
    request = few(small_request, tmp_path, precision="fp32", calib_samples=512)
    entry = export(replace(request, max_drop_mm=0.0))
    statuses = {name: facts["status"] for name, facts in entry["formats"].items()}
    assert statuses == {"onnx": "passed", "openvino": "accuracy_failed"}
    assert {p.name for p in tmp_path.iterdir()} == {f"{STEM}_fp32.onnx", f"{STEM}_fp32.json", "report.json"}
