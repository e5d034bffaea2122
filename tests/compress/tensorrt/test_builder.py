"""Graphs become plans of the asked precision, or one line says why not."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compress.tensorrt.builder import BuildSpec, build_plan, configure
from runtime.errors import UserError
from tests.compress.tensorrt.conftest import small_graph

POOLS, VERBOSITY = IntEnum("POOLS", "WORKSPACE"), IntEnum("VERBOSITY", "DETAILED")


def test_the_configuration() -> None:
    pools: dict[Any, int] = {}
    config: Any = SimpleNamespace(set_memory_pool_limit=pools.__setitem__)
    trt = SimpleNamespace(MemoryPoolType=POOLS, ProfilingVerbosity=VERBOSITY)
    configure(trt, config, BuildSpec("fp16", workspace_mib=512))
    assert pools == {POOLS.WORKSPACE: 512 << 20} and config.profiling_verbosity == VERBOSITY.DETAILED


def test_a_real_build(tmp_path: Path) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    model = small_graph(tmp_path / "small.onnx", "int8").read_bytes()
    plan = build_plan(trt, model, BuildSpec("int8", workspace_mib=64, compute_capability="SM86"))
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
            build_plan(trt, content, BuildSpec(precision, compute_capability="SM86"))
        assert "\n" not in str(error.value)
