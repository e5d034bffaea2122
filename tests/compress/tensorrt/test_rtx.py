"""The build without a GPU, on one small variant; tests/exports does all of them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.tensorrt.__main__ import main
from compress.tensorrt.rtx import check_build
from runtime.errors import UserError
from tests.compress.tensorrt.conftest import small_graph

trt = pytest.importorskip("tensorrt_rtx")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_build_passes(tmp_path: Path, precision: str) -> None:
    check = check_build(small_graph(tmp_path / "small.onnx", precision), precision)
    assert (check.status, check.graph_layers) == ("passed", {precision: 1})
    assert check.plan_bytes and check.build_seconds


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"zero_point": np.int8(3)}, "cannot parse the model.*"),
        ({"bias": True}, "cannot parse the model.*Int32"),
        ({"zero_point": np.uint8(0)}, "warning: .*zero_point.*INT8"),  # it builds, and clips in silence
    ],
)
def test_what_tensorrt_does_not_take_fails(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    check = check_build(small_graph(tmp_path / "small.onnx", "int8", **changes), "int8")
    assert check.status == "failed"
    assert re.search(reason, check.reasons[0])


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = small_graph(tmp_path / "good.onnx", "int8"), small_graph(tmp_path / "bad.onnx", "int8", bias=True)
    assert main(["--check", str(good)]) == 0
    assert "passed (TensorRT for RTX" in capsys.readouterr().out
    assert main(["--check", str(good), str(bad)]) == 1
    assert "failed; TensorRT cannot parse the model" in capsys.readouterr().out
    with pytest.raises(UserError, match="--target has no effect with --check"):
        main(["--check", str(good), "--target", "jetson-orin-nano"])
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    assert main(["--check", str(good)]) == 1
    said = capsys.readouterr().out
    assert "not_run; " in said and "pip install tensorrt-rtx" in said
