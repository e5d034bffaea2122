"""ONNX -> a serialised engine, in one code path for TensorRT 10.3 to 11 and TensorRT for RTX.

What a version can do is asked with hasattr. Networks are strongly typed: the precision is the graph's own (Q/DQ, fp16
tensors). TensorRT 11 knows nothing else; in TensorRT 10 flags may choose instead, which `weak` offers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.tensorrt.layer_precision import graph_layers
from runtime.backends.trt_api import Message, collecting_logger, first_error
from runtime.errors import UserError

if TYPE_CHECKING:
    import tensorrt as trt

MAX_CACHE_BYTES = 2**28
WEAK_PRECISIONS = ("fp16", "int8")

Progress = Callable[[str, int, int], None]  # phase, step, of how many


@dataclass(frozen=True)
class BuildSpec:
    """How to build."""

    precision: str  # that the engine must have
    weak: bool = False  # let TensorRT 10 choose precisions by flags
    workspace_mib: int | None = None
    compute_capability: str | None = None  # SM86: for a GPU that is not here, which only TensorRT for RTX can
    timing_cache: Path | None = None


@dataclass(frozen=True)
class Plan:
    """A serialised engine and what is known of it before it is loaded."""

    content: bytes
    parse_seconds: float
    build_seconds: float
    graph_layers: dict[str, int]
    messages: tuple[Message, ...]  # warnings and errors


@dataclass(frozen=True)
class Abilities:
    """What a version of TensorRT can do."""

    strongly_typed: bool
    weak: bool
    timing_cache: bool
    progress: bool
    choose_gpu: bool


def abilities(trt_module: Any) -> Abilities:
    """Asked of the module's classes, not of its version."""
    flags, config = trt_module.BuilderFlag, trt_module.IBuilderConfig
    weak = hasattr(flags, "FP16") and hasattr(flags, "INT8")
    return Abilities(
        # Where the flags are gone, every network is strongly typed, whether or not there is still a flag to say so.
        strongly_typed=hasattr(trt_module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED") or not weak,
        weak=weak,
        timing_cache=hasattr(config, "create_timing_cache") and hasattr(config, "set_timing_cache"),
        progress=hasattr(trt_module, "IProgressMonitor") and hasattr(config, "progress_monitor"),
        choose_gpu=hasattr(config, "set_compute_capability"),
    )


def build_plan(trt_module: Any, model: bytes, spec: BuildSpec, progress: Progress | None = None) -> Plan:
    """Parse and build. A UserError for what cannot be built, with TensorRT's own first reason."""
    able = abilities(trt_module)
    check_spec(able, spec)
    logger, messages = collecting_logger(trt_module)
    builder = trt_module.Builder(logger)
    network = builder.create_network(network_flags(trt_module, spec))
    parser = trt_module.OnnxParser(network, logger)
    start = time.perf_counter()
    if not parser.parse(model):
        reasons = [" ".join(str(parser.get_error(i)).split()) for i in range(parser.num_errors)]
        raise UserError(f"TensorRT cannot parse the model: {(reasons or [first_error(messages)])[0][:300]}")
    parsed = time.perf_counter()
    layers = graph_layers(trt_module, network)
    check_graph(layers, spec, able)
    config = builder.create_builder_config()
    configure(trt_module, config, spec, able)
    monitor = progress_monitor(trt_module, progress) if able.progress and progress is not None else None
    if monitor is not None:
        config.progress_monitor = monitor
    content = builder.build_serialized_network(network, config)
    if content is None:
        raise UserError(f"TensorRT cannot build the engine: {first_error(messages)[:300]}")
    built = time.perf_counter()
    if spec.timing_cache is not None and able.timing_cache:
        save_timing_cache(config, spec.timing_cache)
    return Plan(bytes(content), parsed - start, built - parsed, layers, tuple(messages))


def check_spec(able: Abilities, spec: BuildSpec) -> None:
    """What this version cannot do, before anything is parsed."""
    if spec.weak and not able.weak:
        raise UserError(
            "this TensorRT takes precisions from the graph alone: leave out --weak, give the fp16 or int8 file"
        )
    if spec.weak and spec.precision not in WEAK_PRECISIONS:
        raise UserError(f"--weak chooses {' or '.join(WEAK_PRECISIONS)}, not {spec.precision}")
    if not spec.weak and not able.strongly_typed:
        raise UserError(f"this TensorRT has no strongly typed networks: give --weak {spec.precision}")
    if spec.compute_capability is not None and not able.choose_gpu:
        raise UserError("this TensorRT builds for the GPU at hand alone")


def check_graph(layers: dict[str, int], spec: BuildSpec, able: Abilities) -> None:
    """A graph that cannot become an engine of the wanted precision."""
    if spec.precision == "int8" and not layers.get("int8"):
        raise UserError("the graph has no Q/DQ around any layer: give the int8 file of flavour trt")
    if not spec.weak and not layers.get(spec.precision):
        hint = f", or --weak {spec.precision}" if able.weak and spec.precision in WEAK_PRECISIONS else ""
        raise UserError(f"the graph computes nothing in {spec.precision}: give the {spec.precision} file{hint}")


def network_flags(trt_module: Any, spec: BuildSpec) -> int:
    """Strongly typed where there is a flag for it and nobody asked otherwise."""
    typed = getattr(trt_module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if spec.weak or typed is None else 1 << int(typed)


def configure(trt_module: Any, config: trt.IBuilderConfig, spec: BuildSpec, able: Abilities) -> None:
    """Verbosity, workspace, flags, GPU, timing cache."""
    config.profiling_verbosity = trt_module.ProfilingVerbosity.DETAILED  # the inspector needs it
    if spec.workspace_mib is not None:
        config.set_memory_pool_limit(trt_module.MemoryPoolType.WORKSPACE, spec.workspace_mib << 20)
    if spec.weak:
        config.set_flag(trt_module.BuilderFlag.FP16)
        if spec.precision == "int8":
            config.set_flag(trt_module.BuilderFlag.INT8)
    if spec.compute_capability is not None:
        choose_gpu(trt_module, config, spec.compute_capability)
    if spec.timing_cache is not None and able.timing_cache:
        load_timing_cache(config, spec.timing_cache)


def choose_gpu(trt_module: Any, config: Any, name: str) -> None:
    """Build for a GPU that is not here."""
    gpu = getattr(trt_module.ComputeCapability, name, None)
    if gpu is None:
        known = ", ".join(name for name in dir(trt_module.ComputeCapability) if name.startswith("SM"))
        raise UserError(f"this TensorRT does not build for {name} (it does for {known})")
    config.num_compute_capabilities = 1
    config.set_compute_capability(gpu, 0)


def load_timing_cache(config: trt.IBuilderConfig, path: Path) -> None:
    """Kernels timed in earlier builds on this machine. A cache that does not suit is left aside: it is only time."""
    content = b""
    if path.is_file() and path.stat().st_size <= MAX_CACHE_BYTES:
        content = path.read_bytes()
    for candidate in (content, b""):
        cache = config.create_timing_cache(candidate)
        if cache is not None and config.set_timing_cache(cache, False):  # False: not one of another GPU or version
            return


def save_timing_cache(config: trt.IBuilderConfig, path: Path) -> None:
    """For the next build."""
    from runtime.files import write_bytes_atomic

    cache = config.get_timing_cache()
    if cache is not None:
        write_bytes_atomic(path, bytes(cache.serialize()))


def progress_monitor(trt_module: Any, progress: Progress) -> Any:
    """TensorRT's way to say how far it is."""

    class Monitor(trt_module.IProgressMonitor):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            trt_module.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            progress(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress(phase_name, step + 1, self._steps.get(phase_name, 0))
            return True  # False would stop the build

        def phase_finish(self, phase_name: str) -> None:
            progress(phase_name, self._steps.get(phase_name, 0), self._steps.get(phase_name, 0))

    return Monitor()
