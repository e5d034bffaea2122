"""An engine file with its passport: built on this device from an ONNX file, loaded, and looked into."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from compress.passport import file_sha256
from compress.tensorrt.builder import WEAK_PRECISIONS, BuildSpec, Plan, build_plan
from compress.tensorrt.gpu import probe_gpu
from compress.tensorrt.layer_precision import check_layers, engine_layers
from runtime.backends.contract import METADATA_KEY, parse_passport
from runtime.backends.cuda_session import device_memory_bytes
from runtime.backends.engine_passport import EnginePassport, check_engine, engine_passport_text, read_engine_passport
from runtime.backends.opening import check_model_file
from runtime.backends.trt_api import collecting_logger, describe_machine, first_error, import_tensorrt
from runtime.errors import UserError, unknown_name
from runtime.files import write_bytes_atomic, write_text_atomic
from targets import Target, TargetError, load_target, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.backends.trt_api import Machine

MAX_WARNINGS = 20


@dataclass(frozen=True)
class EngineRequest:
    """Which engine to build."""

    onnx: Path
    target: str | None = None  # a profile, for the workspace and for what does not fit
    weak: str | None = None  # precision that TensorRT 10 chooses by flags; None: the graph's own
    workspace_mib: int | None = None  # None: the profile's, or TensorRT's own
    output_dir: Path | None = None  # None: beside the ONNX file
    overwrite: bool = False


@dataclass(frozen=True)
class Job:
    """A request with what is known once the GPU, TensorRT and the ONNX file were looked at."""

    request: EngineRequest
    trt: Any
    machine: Machine
    model: dict[str, Any]  # the passport of the ONNX file
    spec: BuildSpec
    path: Path  # of the engine


def make_engine(request: EngineRequest) -> tuple[Path, EnginePassport]:
    """Build, check and write `STEM_trtVERSION_smCC.engine` and its `.json`; the ONNX file must have a passport.

    Raises UserError for anything that is missing or does not fit, and where the engine came out in another precision.
    """
    job = prepare(request)
    if job.path.exists() and not request.overwrite:
        raise UserError(f"{job.path} exists: give --overwrite or another --output-dir")
    return job.path, build(job)


def find_or_make_engine(request: EngineRequest) -> tuple[Path, EnginePassport]:
    """The engine of an earlier build where it is for this machine and of this very ONNX file; else a new one."""
    job = prepare(request)
    if not request.overwrite:
        try:
            passport, _ = read_engine_passport(job.path)
            check_engine(passport, job.path, job.path.read_bytes(), job.machine)
            if passport.onnx_sha256 == file_sha256(request.onnx):
                return job.path, passport
        except (UserError, OSError):
            pass  # there is none, or another one
    return job.path, build(job)


def prepare(request: EngineRequest) -> Job:
    """Everything that can fail before the long build."""
    workspace_mib = check_request(request)
    gpu = probe_gpu()  # before TensorRT, which fails badly without a driver
    trt = import_tensorrt()
    model, precision = read_model_passport(request.onnx)
    check_precision(request, request.weak or precision)
    machine = describe_machine(trt.__version__, gpu.driver_version, gpu.compute_capability)
    path = engine_path(request, precision, machine)
    make_folder(path.parent)
    spec = BuildSpec(
        precision=request.weak or precision,
        weak=request.weak is not None,
        workspace_mib=workspace_mib,
        timing_cache=path.parent / f"timing_trt{machine.tensorrt}_{sm(machine)}.cache",
    )
    return Job(request, trt, machine, model, spec, path)


def build(job: Job) -> EnginePassport:
    """Build, look into the engine, write it with its passport."""
    request, spec = job.request, job.spec
    plan, seconds = build_with_progress(job.trt, request.onnx, spec)
    layers, memory = inspect(job.trt, plan)
    check_layers(layers, spec.precision)
    passport = EnginePassport(
        machine=job.machine,
        onnx_file=request.onnx.name,
        onnx_sha256=file_sha256(request.onnx),
        engine_sha256=hashlib.sha256(plan.content).hexdigest(),
        precision=spec.precision,
        strongly_typed=not spec.weak,
        target=request.target,
        workspace_mib=spec.workspace_mib,
        build_seconds=round(seconds, 2),
        device_memory_bytes=memory,
        graph_layers=plan.graph_layers,
        engine_layers=layers,
        warnings=tuple(dict.fromkeys(m.text for m in plan.messages if m.severity == "warning"))[:MAX_WARNINGS],
    )
    model = job.model | {"precision": spec.precision}
    write_text_atomic(job.path.with_suffix(".json"), engine_passport_text(passport, model))
    write_bytes_atomic(job.path, plan.content)
    return passport


def check_request(request: EngineRequest) -> int | None:
    """What can be wrong without a GPU; the workspace in MiB."""
    check_model_file(request.onnx)
    if request.onnx.suffix.lower() != ".onnx":
        raise UserError(f"{request.onnx} is no ONNX file: engines are built from those")
    if request.weak is not None and request.weak not in WEAK_PRECISIONS:
        raise unknown_name("precision", request.weak, WEAK_PRECISIONS)
    if request.workspace_mib is not None and request.workspace_mib < 1:
        raise UserError(f"--workspace-mib {request.workspace_mib} must be 1 or more")
    if request.target is None:
        return request.workspace_mib
    target = profile(request.target)
    if reason := refusal(target, format="tensorrt"):
        raise UserError(reason)
    of_profile = target.figure("workspace_mib")
    return request.workspace_mib or (int(of_profile) if of_profile else None)


def check_precision(request: EngineRequest, precision: str) -> None:
    """A UserError where the target has no such precision."""
    if request.target is not None and (reason := refusal(profile(request.target), precision=precision)):
        raise UserError(reason)


def profile(name: str) -> Target:
    """A target; a UserError for an unknown one."""
    try:
        return load_target(name)
    except TargetError as error:
        raise UserError(str(error)) from None


def read_model_passport(path: Path) -> tuple[dict[str, Any], str]:
    """The passport inside an ONNX file and its precision."""
    import onnxruntime

    check_model_file(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class for every status, without a common one
        reason = (str(error).splitlines() or ["no reason"])[0][:200]
        raise UserError(f"onnxruntime cannot load {path}: {reason}; export it again") from None
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    precision = parse_passport(text, str(path)).precision
    return json.loads(text), precision


def engine_path(request: EngineRequest, precision: str, machine: Machine) -> Path:
    """`er-s_224_int8_trt10.3.0_sm87.engine`, with `-weak` after the precision where flags chose it."""
    named = request.onnx.stem.rsplit("_", 1)[0]
    of_engine = precision if request.weak is None else f"{request.weak}-weak"
    folder = request.onnx.parent if request.output_dir is None else request.output_dir
    return folder / f"{named}_{of_engine}_trt{machine.tensorrt}_{sm(machine)}.engine"


def make_folder(folder: Path) -> None:
    """The folder of the results."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from error


def sm(machine: Machine) -> str:
    """`sm87`."""
    return f"sm{machine.compute_capability.replace('.', '')}"


def build_with_progress(trt: Any, path: Path, spec: BuildSpec) -> tuple[Plan, float]:
    """The plan and the seconds it took, with a bar that follows TensorRT's longest phase."""
    start = time.perf_counter()
    with tqdm(desc=f"building {path.name} as {spec.precision}", unit="step", leave=False) as bar:
        plan = build_plan(trt, path.read_bytes(), spec, follow(bar))
    return plan, time.perf_counter() - start


def follow(bar: Any) -> Callable[[str, int, int], None]:
    """Show the phase that has the most steps so far."""

    def progress(phase: str, step: int, steps: int) -> None:
        if bar.total is None or steps >= bar.total:
            bar.total, bar.n = steps, step
            bar.set_postfix_str(phase[:40], refresh=False)
            bar.refresh()

    return progress


def inspect(trt: Any, plan: Plan) -> tuple[dict[str, int], int | None]:
    """Load the engine: its computing layers by precision and the memory that running it takes, bytes."""
    logger, messages = collecting_logger(trt)
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan.content)
    if engine is None:
        raise UserError(f"TensorRT cannot load the engine that it built: {first_error(messages)}")
    information = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    return engine_layers(information), device_memory_bytes(engine)


def summary(path: Path, passport: EnginePassport) -> str:
    """What was built, in one line."""
    layers = ", ".join(f"{count} {name}" for name, count in passport.engine_layers.items())
    memory = "unknown" if passport.device_memory_bytes is None else f"{passport.device_memory_bytes / 1e6:.1f} MB"
    return f"{path}: {passport.build_seconds:.0f} s, layers: {layers}; device memory {memory}"
