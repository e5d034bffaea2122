"""Which file to run, and the cause that is named where one is not faster."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from compress.check import advice
from compress.check.timing import Ratio
from compress.onnx.flavours import quantize
from compress.onnx.half import convert_to_fp16
from compress.onnx.to_onnx import write_onnx
from training.int8_rules import QuantizeSpec
from training.network import build
from training.network.count import count_gmac, count_parameters_m


@pytest.fixture(scope="module")
def float_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("float") / "nano.onnx"
    write_onnx(build("er-nano").eval(), path)
    return path


@pytest.fixture(scope="module")
def int8_file(float_file: Path) -> Path:
    path = float_file.with_name("int8.onnx")
    quantize(float_file, path, np.random.default_rng(0).integers(0, 256, (2, 160, 160, 3), np.uint8), QuantizeSpec())
    return path


@pytest.mark.parametrize(
    ("ratio", "wanted"),
    [
        (
            Ratio(1.9, 1.8, 2.0, 12),
            r"^int8 on this machine: 1\.90 times the speed of fp32 \(1\.80 to 2\.00\), \+0\.10 mm$",
        ),
        (Ratio(1.04, 0.95, 1.1, 12), r"^fp32 on this machine: int8 has 1\.04 .* within the noise; "),
        (Ratio(0.8, 0.7, 0.9, 12), r"^fp32 on this machine: int8 has 0\.80 .*conversions stand around"),
        (Ratio(1.02, 1.01, 1.03, 12), r"^fp32 on this machine: int8 has 1\.02 "),
    ],
)
def test_advice(float_file: Path, int8_file: Path, ratio: Ratio, wanted: str) -> None:
    files = {"fp32": float_file, "int8": int8_file}
    assert re.search(wanted, advice.advise(files, {"int8": ratio}, {"fp32": 0.0, "int8": 0.1}))


def test_a_file_that_was_not_timed(float_file: Path) -> None:
    assert "made for another" in advice.advise({"fp32": float_file}, {}, {"fp32": 0.0})


def test_products_per_byte(float_file: Path, int8_file: Path) -> None:
    counted = count_gmac(build("er-nano"), 160) * 1e9
    in_float, in_int8 = (advice.products_per_byte(path) for path in (float_file, int8_file))
    assert 0.9 * counted < in_float * (count_parameters_m(build("er-nano")) * 4e6) < 1.05 * counted
    assert 2.5 < in_int8 / in_float < 4


def test_int8_names_conversions_and_the_cpu(int8_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = int8_file
    monkeypatch.setattr(advice, "cpu_flags", lambda: frozenset({"avx2"}))
    reason = advice.explain(path, "int8")
    assert "no int8 dot products" in reason and "conversions stand around" in reason
    monkeypatch.setattr(advice, "cpu_flags", lambda: frozenset({"avx512_vnni", "asimddp"}))
    assert "dot products" not in advice.explain(path, "int8")


def test_fp16_names_the_casts(float_file: Path) -> None:
    path = float_file.with_name("fp16.onnx")
    convert_to_fp16(float_file, path)
    assert "casts" in advice.explain(path, "fp16")
