"""Graphs become plans of the asked precision, or one line says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.tensorrt.builder import build_plan
from runtime.errors import UserError
from tests.compress.tensorrt.conftest import small_graph


def test_a_real_build(tmp_path: Path) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    model = small_graph(tmp_path / "small.onnx", "int8").read_bytes()
    plan = build_plan(trt, model, "int8", workspace_mib=64, compute_capability="SM86")
    assert plan.content and plan.messages == () and plan.graph_layers == {"int8": 1}


def test_what_cannot_be_built(tmp_path: Path) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    model = small_graph(tmp_path / "small.onnx").read_bytes()
    for content, precision, reason in (
        (b"no model", "fp32", "cannot parse the model: "),
        (model, "int8", "nothing in int8: give the int8 file of flavour trt"),
        (model, "fp16", "nothing in fp16: give the fp16 file"),
    ):
        with pytest.raises(UserError, match=reason) as error:
            build_plan(trt, content, precision, compute_capability="SM86")
        assert "\n" not in str(error.value)
