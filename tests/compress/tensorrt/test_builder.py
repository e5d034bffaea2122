"""One code path for all versions: what each can do is asked for, what it cannot do is said before parsing."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compress.tensorrt.builder import (
    BuildSpec,
    abilities,
    build_plan,
    check_graph,
    check_spec,
    configure,
    network_flags,
)
from runtime.errors import UserError
from tests.compress.tensorrt.conftest import small_graph

pytestmark = pytest.mark.filterwarnings("ignore:Use Deprecated in TensorRT-RTX")  # its timing cache does nothing
POOLS, VERBOSITY = IntEnum("POOLS", "WORKSPACE"), IntEnum("VERBOSITY", "DETAILED")


class Config:
    """A builder's configuration that remembers."""

    def __init__(self) -> None:
        self.flags: list[str] = []
        self.pools: dict[Any, int] = {}
        self.profiling_verbosity: Any = None

    def set_flag(self, flag: str) -> None:
        self.flags.append(flag)

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self.pools[pool] = pool_size


def module(flags: tuple[str, ...], creation: dict[str, int], config: type = Config) -> Any:
    """A TensorRT with just these flags."""
    return SimpleNamespace(
        BuilderFlag=SimpleNamespace(**{flag: flag for flag in flags}),
        NetworkDefinitionCreationFlag=SimpleNamespace(**creation),
        IBuilderConfig=config,
        MemoryPoolType=POOLS,
        ProfilingVerbosity=VERBOSITY,
    )


TRT_8_5 = module(("FP16", "INT8", "TF32"), {"EXPLICIT_BATCH": 0})
TRT_10_3 = module(("FP16", "INT8", "TF32"), {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1})
TRT_11 = module(("TF32",), {"STRONGLY_TYPED": 1})
TRT_LATER = module((), {})


def test_abilities_are_asked_for() -> None:
    assert [abilities(trt).strongly_typed for trt in (TRT_8_5, TRT_10_3, TRT_11, TRT_LATER)] == [
        False,
        True,
        True,
        True,
    ]
    assert [abilities(trt).weak for trt in (TRT_8_5, TRT_10_3, TRT_11, TRT_LATER)] == [True, True, False, False]
    rtx = abilities(pytest.importorskip("tensorrt_rtx"))
    assert vars(rtx) == {
        "strongly_typed": True,
        "weak": False,
        "timing_cache": True,
        "progress": True,
        "choose_gpu": True,
    }


@pytest.mark.parametrize(
    ("trt", "spec", "flags", "set_flags"),
    [
        (TRT_10_3, BuildSpec("fp16"), 2, []),
        (TRT_10_3, BuildSpec("int8"), 2, []),
        (TRT_10_3, BuildSpec("fp16", weak=True), 0, ["FP16"]),
        (TRT_10_3, BuildSpec("int8", weak=True), 0, ["FP16", "INT8"]),
        (TRT_11, BuildSpec("int8", workspace_mib=512), 2, []),
        (TRT_LATER, BuildSpec("fp16"), 0, []),
        (TRT_8_5, BuildSpec("fp16", weak=True), 0, ["FP16"]),
    ],
)
def test_flags(trt: Any, spec: BuildSpec, flags: int, set_flags: list[str]) -> None:
    able = abilities(trt)
    check_spec(able, spec)
    config = Config()
    configure(trt, config, spec, able)  # type: ignore[arg-type]
    assert (network_flags(trt, spec), config.flags) == (flags, set_flags)
    assert config.profiling_verbosity == VERBOSITY.DETAILED
    assert config.pools == ({POOLS.WORKSPACE: 512 << 20} if spec.workspace_mib else {})


@pytest.mark.parametrize(
    ("trt", "spec", "reason"),
    [
        (TRT_11, BuildSpec("fp16", weak=True), "from the graph alone: leave out --weak"),
        (TRT_10_3, BuildSpec("fp32", weak=True), "chooses fp16 or int8, not fp32"),
        (TRT_8_5, BuildSpec("fp16"), "no strongly typed networks: give --weak fp16"),
        (TRT_10_3, BuildSpec("fp16", compute_capability="SM86"), "for the GPU at hand alone"),
    ],
)
def test_what_a_version_cannot_do(trt: Any, spec: BuildSpec, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        check_spec(abilities(trt), spec)


def test_graphs_of_another_precision() -> None:
    with pytest.raises(UserError, match="no Q/DQ around any layer: give the int8 file of flavour trt"):
        check_graph({"fp32": 9}, BuildSpec("int8"), abilities(TRT_11))
    with pytest.raises(UserError, match="nothing in fp16: give the fp16 file, or --weak fp16"):
        check_graph({"fp32": 9}, BuildSpec("fp16"), abilities(TRT_10_3))
    with pytest.raises(UserError, match=r"nothing in fp16: give the fp16 file$"):
        check_graph({"fp32": 9}, BuildSpec("fp16"), abilities(TRT_11))
    check_graph({"fp32": 9}, BuildSpec("fp16", weak=True), abilities(TRT_10_3))
    with pytest.raises(UserError, match="no Q/DQ"):  # there are no calibrators here: Q/DQ or nothing
        check_graph({"fp32": 9}, BuildSpec("int8", weak=True), abilities(TRT_10_3))


def test_a_real_build_with_cache_workspace_and_progress(tmp_path: Path) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    model = small_graph(tmp_path / "small.onnx", "int8").read_bytes()
    cache = tmp_path / "timing.cache"
    seen: list[tuple[str, int, int]] = []
    spec = BuildSpec("int8", workspace_mib=64, compute_capability="SM86", timing_cache=cache)
    plan = build_plan(trt, model, spec, lambda *step: seen.append(step))
    assert plan.content and plan.messages == () and plan.graph_layers == {"int8": 1}
    assert cache.stat().st_size > 0
    assert seen and all(0 <= step <= steps for _, step, steps in seen)
    assert len(build_plan(trt, model, spec).content) == len(plan.content)  # with its own cache
    cache.write_bytes(b"another machine's" * 100)
    assert build_plan(trt, model, spec).content  # a cache that does not suit is left aside


def test_what_cannot_be_parsed_or_built(tmp_path: Path) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    with pytest.raises(UserError, match="cannot parse the model: ") as error:
        build_plan(trt, b"no model", BuildSpec("fp32", compute_capability="SM86"))
    assert "\n" not in str(error.value)
    model = small_graph(tmp_path / "small.onnx").read_bytes()
    with pytest.raises(UserError, match=r"does not build for SM87 \(it does for .*SM86"):
        build_plan(trt, model, BuildSpec("fp32", compute_capability="SM87"))
    with pytest.raises(UserError, match="leave out --weak"):
        build_plan(trt, model, BuildSpec("fp16", weak=True))
