"""ONNX -> a serialised engine, in one code path for TensorRT 10.3 to 11 and TensorRT for RTX.

Networks are strongly typed: the precision is the graph's own (Q/DQ, fp16 tensors).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from compress.tensorrt.layer_precision import graph_layers
from runtime.backends.trt_api import collecting_logger, first_error
from runtime.errors import UserError


@dataclass(frozen=True)
class BuildSpec:
    """How to build."""

    precision: str  # that the engine must have
    workspace_mib: int | None = None
    compute_capability: str | None = None  # SM86: for a GPU that is not here, which only TensorRT for RTX can


@dataclass(frozen=True)
class Plan:
    """A serialised engine and what is known of it before it is loaded."""

    content: bytes
    parse_seconds: float
    build_seconds: float
    graph_layers: dict[str, int]
    messages: tuple[str, ...]  # each once, with its severity: warnings and errors


def build_plan(trt_module: Any, model: bytes, spec: BuildSpec) -> Plan:
    """Parse and build. A UserError for what cannot be built, with TensorRT's own first reason."""
    logger, messages = collecting_logger(trt_module)
    builder = trt_module.Builder(logger)
    network = builder.create_network(1 << int(trt_module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt_module.OnnxParser(network, logger)
    start = time.perf_counter()
    if not parser.parse(model):
        reasons = [" ".join(str(parser.get_error(i)).split()) for i in range(parser.num_errors)]
        raise UserError(f"TensorRT cannot parse the model: {(reasons or [first_error(messages)])[0][:300]}")
    parsed = time.perf_counter()
    layers = graph_layers(trt_module, network)
    if not layers.get(spec.precision):
        wanted = "int8 file of flavour trt, with Q/DQ" if spec.precision == "int8" else f"{spec.precision} file"
        raise UserError(f"the graph computes nothing in {spec.precision}: give the {wanted}")
    config = builder.create_builder_config()
    configure(trt_module, config, spec)
    content = builder.build_serialized_network(network, config)
    if content is None:
        raise UserError(f"TensorRT cannot build the engine: {first_error(messages)}")
    built = time.perf_counter()
    told = tuple(dict.fromkeys(messages))
    return Plan(bytes(content), round(parsed - start, 3), round(built - parsed, 3), layers, told)


def configure(trt_module: Any, config: Any, spec: BuildSpec) -> None:
    """Set verbosity, workspace and GPU."""
    config.profiling_verbosity = trt_module.ProfilingVerbosity.DETAILED  # the inspector needs it
    if spec.workspace_mib is not None:
        config.set_memory_pool_limit(trt_module.MemoryPoolType.WORKSPACE, spec.workspace_mib << 20)
    if spec.compute_capability is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt_module.ComputeCapability, spec.compute_capability), 0)
