"""Which ONNX files each format takes, and exports in several formats at once."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.coreml import coreml_format
from compress.export import export, main
from compress.export_report import print_result
from compress.formats import export_label, plan_artefacts
from compress.request import ExportRequest
from compress.request_check import check_request
from runtime.errors import UserError


@pytest.mark.parametrize(
    ("precision", "formats", "target", "labels", "name"),
    [
        ("fp32", "tensorrt coreml", None, "fp32 | tensorrt:fp32 coreml:fp32", "fp32"),
        ("fp16", "onnx", None, "fp32 fp16", "fp16"),
        ("fp16", "onnx tensorrt", "jetson-orin-nano", "fp32 fp16 | tensorrt:fp16", "fp16"),
        ("int8", "onnx", None, "fp32 int8", "int8"),
        ("int8", "onnx", "jetson-orin-nano", "fp32 int8-trt", "int8-trt"),
        ("int8", "onnx tensorrt coreml", None, "fp32 int8 int8-trt | tensorrt:int8 coreml:w8", "int8"),
        ("int8", "onnx openvino", None, "fp32 int8 | openvino:int8", "int8"),
        ("int8", "web tensorrt", None, "fp32 int8 int8-trt | tensorrt:int8 web:int8", "int8"),
        ("fp16", "openvino", "raspberry-pi-5", "fp32 | openvino:fp16", "fp16"),
        ("int8", "tensorrt", None, "fp32 int8-trt | tensorrt:int8", "int8-trt"),
        ("int8", "coreml", "apple-a16", "fp32 | coreml:w8", "int8"),
        ("w8", "onnx coreml", None, "fp32 w8 | coreml:w8", "w8"),
    ],
)
def test_what_an_export_makes(precision: str, formats: str, target: str | None, labels: str, name: str) -> None:
    request = ExportRequest("er-nano", precision, tuple(formats.split()), target=target)
    artefacts = plan_artefacts(request, check_request(request))
    onnx, _, others = labels.partition(" | ")
    assert [a.label for a in artefacts if a.format == "onnx"] == onnx.split()
    assert [f"{a.format}:{a.label}" for a in artefacts if a.format != "onnx"] == others.split()
    assert [a.label for a in artefacts if a.format == "onnx" and a.calibrated] == [
        label for label in onnx.split() if label != "w8"
    ][1:] * (precision == "int8")
    assert export_label(precision, artefacts) == name


@pytest.mark.parametrize(
    ("name", "package"),
    [("openvino", "nncf"), ("openvino", "openvino"), ("coreml", "coremltools"), ("litert", "ai_edge_litert")],
)
def test_what_a_format_needs(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"^format {name} needs {package}: pip install {package}$"):
        check_request(ExportRequest("er-nano", formats=(name,)))


def everything(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def all_formats(small_request: ExportRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """An int8 export in every format, on a machine without a GPU."""
    folder = tmp_path_factory.mktemp("formats")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pycuda", None)
        patch.setattr(coreml_format, "PACKAGE_CROPS", 6)
        formats = ("onnx", "tensorrt", "coreml")
        entry = export(replace(small_request, formats=formats, output_dir=folder))
    return folder, entry


@pytest.mark.slow
def test_every_format_has_its_files_and_its_verdict(all_formats: tuple[Path, dict[str, Any]]) -> None:
    folder, entry = all_formats
    assert {name: facts["status"] for name, facts in entry["formats"].items()} == {
        "onnx": "passed",
        "coreml": "passed",
        "tensorrt": "not_run",
    }
    labels = ("fp32", "int8", "int8-trt")
    onnx_names = {f"er-nano_160_{label}{suffix}" for label in labels for suffix in (".onnx", ".json")}
    package = {"er-nano_160_w8.mlpackage", "er-nano_160_w8.mlpackage.json"}
    assert everything(folder) == onnx_names | package | {"report.json"}
    passport = json.loads((folder / "er-nano_160_w8.mlpackage.json").read_text())
    assert passport["precision"] == "w8" and passport["verdict"]["status"] == "passed"
    assert passport["parity"]["fp32"]["vertex_mm"] < 0.05
    assert passport["accuracy"]["n_images"] == entry["files"]["er-nano_160_fp32"]["accuracy"]["n_images"]


@pytest.mark.slow
def test_what_is_to_be_done_on_the_device_is_said(
    all_formats: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, entry = all_formats
    engine = entry["formats"]["tensorrt"]
    assert "there is no NVIDIA driver here" in engine["reasons"][0]
    assert engine["build_command"].endswith("er-nano_160_int8-trt.onnx --target NAME")
    assert engine["build_check"]["status"] in ("passed", "not_run")  # not_run: TensorRT for RTX is not installed
    print_result(entry, folder)
    printed = capsys.readouterr().out
    assert "coreml: passed" in printed and "mm apart (worst vertex of 6 crops)" in printed
    assert "tensorrt: not_run; there is no NVIDIA driver" in printed and "on the device: python -m compress" in printed
    assert f"--model {folder / 'er-nano_160_int8.onnx'}" in printed  # what runs here


@pytest.mark.slow
def test_a_package_that_fails_leaves_the_onnx_files(
    small_request: ExportRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coreml_format, "FP16_TOLERANCE_MM", 0.0)
    monkeypatch.setattr(coreml_format, "PACKAGE_CROPS", 2)
    request = replace(small_request, precision="fp16", calib_samples=512, output_dir=tmp_path, test_images=32)
    entry = export(replace(request, formats=("onnx", "coreml")))
    assert entry["formats"]["onnx"]["status"] == "passed" and entry["formats"]["coreml"]["status"] == "parity_failed"
    assert not [name for name in everything(tmp_path) if "mlpackage" in name]
    assert "er-nano_160_fp16.onnx" in everything(tmp_path)


@pytest.mark.slow
def test_the_exit_code_is_that_of_the_worst_format(
    synthetic_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    words = ["--variant", "er-nano", "--random-weights", "--test-images", "32", "--output-dir", str(tmp_path)]
    assert main([*words, "--format", "onnx", "tensorrt"]) == 1
    assert main([*words, "--overwrite"]) == 0
