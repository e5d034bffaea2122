"""Engine files with their passports: built on this device from ONNX files, loaded, and looked into."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.tensorrt.builder import build_plan
from runtime.backends.contract import METADATA_KEY, parse_passport
from runtime.backends.engine_passport import EnginePassport, check_engine, engine_passport_text, read_engine_passport
from runtime.backends.opening import check_model_file
from runtime.backends.session import open_session
from runtime.backends.trt_api import (
    Machine,
    collecting_logger,
    first_error,
    import_pycuda,
    import_tensorrt,
    machine_here,
)
from runtime.errors import UserError, first_line
from runtime.files import file_sha256, write_bytes_atomic, write_text_atomic
from targets import read_target
from targets.profile import PRECISIONS

FLAVOUR = "trt"  # of int8 files
_OF_TYPE = {"int8": "int8", "half": "fp16", "fp16": "fp16", "float": "fp32", "fp32": "fp32"}
# Layers that move, hold or convert data.
_MOVES = re.compile("reformat|shuffle|constant|noop|no_op|signal|wait|slice|concat|copy|cast|quantize")
# What NVIDIA's kernels are called after the types they multiply; int8 first: its tactics name their float result, too.
_OF_TACTIC = {
    "int8": re.compile("i8i8|int8|imma|_s8"),
    "fp16": re.compile("f16f16|fp16|h16816|h884|h1688|_f16"),
    "fp32": re.compile("f32f32|tf32|sgemm|scudnn|_f32"),
}


@dataclass(frozen=True)
class Job:
    """Which engine to build, with what is known once the GPU, TensorRT and the ONNX file were looked at."""

    onnx: Path
    trt: Any
    machine: Machine
    model: dict[str, Any]  # the passport of the ONNX file
    precision: str
    workspace_mib: int | None
    path: Path  # of the engine


def prepare_engines(onnx_paths: Sequence[Path], target: str | None, workspace_mib: int | None = None) -> list[Path]:
    """Return an engine file for this device of each ONNX file, built where there is none of this very file.

    Files that are not for TensorRT are left out, and a line says so. UserError where nothing is left, and for what
    `prepare` and `build` raise; all files are looked at before the first build, which takes minutes.
    """
    jobs: dict[Path, Job] = {}
    for path in onnx_paths:
        if reason := unfit(*read_model_passport(path)):
            print(f"left out: {path}: {reason}")
            continue
        job = prepare(path, target, workspace_mib)
        if job.path in jobs:
            raise UserError(f"{path} and {jobs[job.path].onnx} would both become {job.path}: give one of them")
        jobs[job.path] = job
    if not jobs:
        raise UserError("there is no file to build engines from: export fp32, fp16 (--fp16) or int8 (--int8 --target)")
    for job in jobs.values():
        if not is_built(job):
            facts = build(job)
            layers = ", ".join(f"{count} {name}" for name, count in facts["engine_layers"].items())
            memory_mb = facts["device_memory_bytes"] / 1e6
            print(f"{job.path}: {facts['build_seconds']} s, layers: {layers}; device memory {memory_mb:.1f} MB")
    return list(jobs)


def unfit(model: dict[str, Any], precision: str) -> str | None:
    """Return why no engine is built from a file with this passport; None where one is."""
    if precision not in PRECISIONS:
        return f"{precision}: engines are built from {', '.join(PRECISIONS)} files"
    flavour = (model.get("quantisation") or {}).get("flavour", "cpu")
    if precision == "int8" and flavour != FLAVOUR:
        return f"int8 of flavour {flavour}: export it with --target for TensorRT's"
    return None


def is_built(job: Job) -> bool:
    """Whether the engine of an earlier build is there, for this machine and of this very ONNX file."""
    try:
        passport, _ = read_engine_passport(job.path)
        check_engine(passport, job.path, job.path.read_bytes(), job.machine)
    except (UserError, OSError):
        return False
    return passport.onnx_sha256 == file_sha256(job.onnx)


def prepare(onnx: Path, target: str | None, workspace_mib: int | None = None) -> Job:
    """Look at everything that can fail before the long build. Raises UserError for what is missing or does not fit.

    A target, a device profile, gives the workspace where none is given. Whether the file is one for TensorRT, `unfit`
    says: one that is being exported does not say it of itself yet.
    """
    if workspace_mib is not None and workspace_mib < 1:
        raise UserError(f"--workspace-mib {workspace_mib} must be 1 or more")
    model, precision = read_model_passport(onnx)
    if target is not None:
        profile = read_target(target)
        if reason := profile.refusal(format="tensorrt", precision=precision):
            raise UserError(reason)
        figure = profile.figures.get("workspace_mib")
        workspace_mib = workspace_mib or (int(figure.value) if figure else None)
    cuda = import_pycuda()
    trt = import_tensorrt()
    machine = machine_here(cuda, trt.__version__)
    built_for = f"trt{machine.tensorrt}_sm{machine.compute_capability.replace('.', '')}"
    path = onnx.with_name(f"{onnx.stem.rsplit('_', 1)[0]}_{precision}_{built_for}.engine")
    return Job(onnx, trt, machine, model, precision, workspace_mib, path)


def build(job: Job) -> dict[str, Any]:
    """Build, look into the engine, write `STEM_trtVERSION_smCC.engine` with its passport; gives what came of it.

    Raises UserError where TensorRT cannot, and where the engine came out in another precision.
    """
    print(f"building {job.path} (minutes, the first time)", flush=True)
    plan = build_plan(job.trt, job.onnx.read_bytes(), job.workspace_mib)
    logger, messages = collecting_logger(job.trt)
    engine = job.trt.Runtime(logger).deserialize_cuda_engine(plan.content)
    if engine is None:
        raise UserError(f"TensorRT cannot load the engine that it built: {first_error(messages)}")
    information = engine.create_engine_inspector().get_engine_information(job.trt.LayerInformationFormat.JSON)
    facts = {
        "build_seconds": plan.build_seconds,
        "device_memory_bytes": engine.device_memory_size_v2,  # that one execution context takes
        "engine_layers": engine_layers(information, job.precision),
    }
    passport = EnginePassport(
        machine=job.machine,
        onnx_file=job.onnx.name,
        onnx_sha256=file_sha256(job.onnx),
        engine_sha256=hashlib.sha256(plan.content).hexdigest(),
        precision=job.precision,
        workspace_mib=job.workspace_mib,
    )
    write_text_atomic(job.path.with_suffix(".json"), engine_passport_text(passport, job.model, facts))
    write_bytes_atomic(job.path, plan.content)
    return facts


def renew_passport(path: Path) -> str:
    """Describe the ONNX file as it is now: an export puts its passport into it when the engine is built already.

    Gives the engine's hash.
    """
    beside = path.with_suffix(".json")
    facts = json.loads(beside.read_text())
    onnx = path.with_name(facts["engine"]["onnx_file"])
    facts["engine"]["onnx_sha256"] = file_sha256(onnx)
    facts["model"], _ = read_model_passport(onnx)
    write_text_atomic(beside, json.dumps(facts, indent=2) + "\n")
    return str(facts["engine"]["engine_sha256"])


def read_model_passport(path: Path) -> tuple[dict[str, Any], str]:
    """Return the passport inside an ONNX file and its precision."""
    check_model_file(path)
    try:
        session = open_session(path, optimise="none")
    except UserError:
        raise
    except Exception as error:  # onnxruntime has a class for every status, without a common one
        raise UserError(f"onnxruntime cannot load {path}: {first_line(error)}; export it again") from None
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    precision = parse_passport(text, str(path)).precision
    return json.loads(text), precision


def engine_layers(information: str, precision: str) -> dict[str, int]:
    """Count the computing layers of a built engine by precision, from the engine inspector's JSON.

    UserError where none computes in the wanted precision: the engine would silently be slower.
    """
    try:
        found = Counter(layer_precision(layer) for layer in json.loads(information)["Layers"])
    except (ValueError, LookupError, TypeError, AttributeError):  # without detailed verbosity layers are names
        raise UserError("TensorRT's engine inspector does not describe layers: precision cannot be checked") from None
    layers = {name: found[name] for name in _OF_TACTIC if found[name]}
    if precision not in layers:
        has = ", ".join(f"{count} in {name}" for name, count in layers.items()) or "none at all"
        raise UserError(f"no layer of the engine computes in {precision} ({has}): it would be {precision} by name only")
    return layers


def layer_precision(layer: Mapping[str, Any]) -> str | None:
    """Return that of one layer of the inspector's JSON; None for one that only moves data.

    Types of the inputs alone mislead: a float convolution may read int8. Weights say it best, then the kernel's name.
    """
    weights = _OF_TYPE.get(layer.get("Weights", {}).get("Type", "").lower())
    if weights is not None or _MOVES.search(layer.get("LayerType", "").lower()):
        return weights
    tactic = layer.get("TacticName", "").lower()
    # Formats begin with the type: `Int8 NC/32HW32`, `Half`, `Row major linear FP16 format` in older versions.
    tensors = [tensor for side in ("Inputs", "Outputs") for tensor in layer.get(side, ())]
    words = re.split(r"\W+", " ".join(tensor.get("Format/Datatype", "") for tensor in tensors).lower())
    by_tactic = [precision for precision, marks in _OF_TACTIC.items() if marks.search(tactic)]
    by_tensors = [precision for precision in _OF_TACTIC if precision in {_OF_TYPE.get(word) for word in words}]
    return next(iter(by_tactic + by_tensors), None)
