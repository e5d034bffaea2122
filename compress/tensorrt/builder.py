"""ONNX -> a serialised engine, in one code path for TensorRT 10.3 to 11 and TensorRT for RTX.

Networks are strongly typed: the precision is the graph's own (Q/DQ, fp16 tensors). TensorRT for RTX shares the parser
and the typed builder and needs no GPU: a build by it proves that a graph parses and builds, for an RTX GPU, with that
version's parser, and nothing about a Jetson: no speed, no accuracy, and older parsers are stricter (compress.onnx.lint
names the operators that they lack).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.backends.trt_api import collecting_logger, first_error
from runtime.errors import UserError, first_line

RTX_COMPUTE_CAPABILITY = "SM86"  # the nearest to Orin's 8.7 that TensorRT for RTX builds for
INSTALL_RTX = "pip install tensorrt-rtx-cu13==1.7.1.116 (x86-64, no GPU needed)"


@dataclass(frozen=True)
class Plan:
    """A serialised engine, not loaded yet."""

    content: bytes
    build_seconds: float  # with parsing
    messages: tuple[str, ...]  # each once, with its severity: warnings and errors


def build_plan(trt: Any, model: bytes, workspace_mib: int | None = None, compute_capability: str | None = None) -> Plan:
    """Parse and build. A UserError for what cannot be built, with TensorRT's own first reason.

    compute_capability: for a GPU that is not here, which only TensorRT for RTX can.
    """
    logger, messages = collecting_logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    start = time.perf_counter()
    if not parser.parse(model):
        reasons = [" ".join(str(parser.get_error(i)).split()) for i in range(parser.num_errors)]
        raise UserError(f"TensorRT cannot parse the model: {(reasons or [first_error(messages)])[0][:300]}")
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the inspector needs it
    if workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib << 20)
    if compute_capability is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, compute_capability), 0)
    content = builder.build_serialized_network(network, config)
    if content is None:
        raise UserError(f"TensorRT cannot build the engine: {first_error(messages)}")
    return Plan(bytes(content), round(time.perf_counter() - start, 2), tuple(dict.fromkeys(messages)))


@dataclass(frozen=True)
class BuildCheck:
    """How a build by TensorRT for RTX went. `passed` only without a warning: one about types is a wrong result."""

    status: str  # passed, failed, not_run
    what: str
    reasons: tuple[str, ...] = ()
    build_seconds: float | None = None

    def __str__(self) -> str:
        """Return one line."""
        seconds = "" if self.build_seconds is None else f", built in {self.build_seconds} s"
        return f"{'; '.join([self.status, *self.reasons])} ({self.what}{seconds})"


def check_build(path: Path) -> BuildCheck:
    """Parse and build one ONNX file. `not_run` with what to install where TensorRT for RTX is missing."""
    try:
        import tensorrt_rtx as trt
    except (ImportError, OSError) as error:
        reason = f"TensorRT for RTX cannot be imported ({first_line(error)}): {INSTALL_RTX}"
        return BuildCheck("not_run", "TensorRT for RTX, build only", (reason,))
    what = f"TensorRT for RTX {trt.__version__}, build only, for {RTX_COMPUTE_CAPABILITY}"
    try:
        plan = build_plan(trt, path.read_bytes(), compute_capability=RTX_COMPUTE_CAPABILITY)
    except UserError as error:
        return BuildCheck("failed", what, (str(error),))
    return BuildCheck("failed" if plan.messages else "passed", what, plan.messages, plan.build_seconds)
