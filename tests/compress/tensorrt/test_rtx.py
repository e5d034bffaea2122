"""The build without a GPU, on one small variant; tests/exports does all of them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.tensorrt.builder import check_build
from tests.compress.tensorrt.conftest import small_graph

trt = pytest.importorskip("tensorrt_rtx")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_build_passes(tmp_path: Path, precision: str) -> None:
    check = check_build(small_graph(tmp_path / "small.onnx", precision))
    assert check.status == "passed" and check.build_seconds


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"zero_point": np.int8(3)}, "cannot parse the model.*"),
        ({"bias": True}, "cannot parse the model.*Int32"),
        ({"zero_point": np.uint8(0)}, "warning: .*zero_point.*INT8"),  # it builds, and clips in silence
    ],
)
def test_what_tensorrt_does_not_take_fails(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    check = check_build(small_graph(tmp_path / "small.onnx", "int8", **changes))
    assert check.status == "failed"
    assert re.search(reason, check.reasons[0])


def test_no_model(tmp_path: Path) -> None:
    (tmp_path / "small.onnx").write_bytes(b"no model")
    (reason,) = check_build(tmp_path / "small.onnx").reasons
    assert "cannot parse the model: " in reason and "\n" not in reason


def test_one_line_says_how_it_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small_graph(tmp_path / "good.onnx", "int8")
    assert str(check_build(path)).startswith("passed (TensorRT for RTX")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    said = str(check_build(path))
    assert said.startswith("not_run; ") and "pip install tensorrt-rtx" in said
