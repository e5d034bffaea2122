"""The cause that is named where a file is not faster."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from compress import slowdown
from compress.flavours import quantize
from compress.half import convert_to_fp16
from compress.to_onnx import write_onnx
from training.flavour import QuantizeSpec
from training.network import build


@pytest.fixture(scope="module")
def float_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("float") / "nano.onnx"
    write_onnx(build("er-nano").eval(), path)
    return path


def test_int8_names_conversions_and_the_cpu(float_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = float_file.with_name("int8.onnx")
    quantize(float_file, path, np.zeros((2, 160, 160, 3), np.uint8), QuantizeSpec())
    monkeypatch.setattr(slowdown, "cpu_flags", lambda: frozenset({"avx2"}))
    reason = slowdown.explain(path, "int8")
    assert "no int8 dot products" in reason and "conversions stand around" in reason
    monkeypatch.setattr(slowdown, "cpu_flags", lambda: frozenset({"avx512_vnni", "asimddp"}))
    assert "dot products" not in slowdown.explain(path, "int8")


def test_fp16_names_the_casts(float_file: Path) -> None:
    path = float_file.with_name("fp16.onnx")
    convert_to_fp16(float_file, path)
    assert "casts" in slowdown.explain(path, "fp16")
