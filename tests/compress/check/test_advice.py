"""Which file to run, and the cause that is named where one is not faster."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from compress.artefact import Artefact
from compress.check import advice
from compress.check.timing import Ratio
from compress.onnx.flavours import quantize
from compress.onnx.half import convert_to_fp16
from compress.onnx.quantize import QuantizeSpec


@pytest.fixture(scope="module")
def files(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """er-nano by label."""
    folder = tmp_path_factory.mktemp("files")
    paths = {"fp32": nano, "fp16": folder / "fp16.onnx", "int8": folder / "int8.onnx"}
    crops = np.random.default_rng(0).integers(0, 256, (2, 160, 160, 3), np.uint8)
    convert_to_fp16(paths["fp32"], paths["fp16"], crops)
    quantize(paths["fp32"], paths["int8"], crops, QuantizeSpec())
    return paths


@pytest.mark.parametrize(
    ("label", "ratio", "wanted"),
    [
        ("int8", Ratio(1.9, 1.8, 2.0, 12), r"^int8 on this machine: 1\.90 times .* \(1\.80 to 2\.00\), \+0\.10 mm$"),
        ("int8", Ratio(1.04, 0.95, 1.1, 12), r"^fp32 on this machine: int8 has 1\.04 .* within the noise; "),
        ("int8", Ratio(0.8, 0.7, 0.9, 12), r"^fp32 on this machine: int8 has 0\.80 .*conversions stand around"),
        ("fp16", Ratio(0.9, 0.8, 0.95, 12), r"adds \d+ casts"),
        ("w8", Ratio(1.0, 0.9, 1.05, 12), r"smaller, not faster"),
    ],
)
def test_advice(files: dict[str, Path], label: str, ratio: Ratio, wanted: str) -> None:
    others = Artefact("onnx", label, label, path=files.get(label, files["fp32"]), lost_mm=0.1, ratio=ratio)
    assert re.search(wanted, advice.advise([Artefact("onnx", "fp32", "fp32", path=files["fp32"]), others]))


def test_a_file_that_was_not_timed() -> None:
    assert "no other ONNX file was timed" in advice.advise(
        [Artefact("onnx", "fp32", "fp32"), Artefact("onnx", "int8", "int8-trt")]
    )


def test_the_cpu_is_named(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    int8 = Artefact("onnx", "int8", "int8", path=files["int8"])
    monkeypatch.setattr(advice, "cpu_flags", lambda: frozenset({"avx2"}))
    assert "no int8 dot products" in advice.explain(int8)
    monkeypatch.setattr(advice, "cpu_flags", lambda: frozenset({"avx512_vnni", "asimddp"}))
    assert "dot products" not in advice.explain(int8)
