"""onnxruntime: the one place where its sessions are made, and `.onnx` files as a backend of the runner.

runtime/backends lists its defaults. With its own default of threads it takes twice as long on one core of a container.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..files import utf8_path
from ..machine import usable_cores
from .backend import Backend, import_engine, telling
from .contract import INPUT_NAME, METADATA_KEY, OUTPUT_SHAPES, Outputs, check_signature, parse_passport

CPU_PROVIDER = "CPUExecutionProvider"
_LEVELS = {"all": "ORT_ENABLE_ALL", "basic": "ORT_ENABLE_BASIC", "none": "ORT_DISABLE_ALL"}
_LOG_FATAL = 4
_PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": CPU_PROVIDER}  # the fastest first
DEVICES = ("auto", *_PROVIDERS)
TAKES_THREADS = True
_FLOAT_TENSOR = "tensor(float)"


def open_session(
    model: str | Path | bytes,
    threads: int | None = None,
    *,
    providers: Sequence[str] = (CPU_PROVIDER,),
    optimise: Literal["all", "basic", "none"] = "all",
    optimised_path: Path | None = None,
    profile_prefix: Path | None = None,
) -> Any:
    """Open an onnxruntime InferenceSession on a file or on a serialised model.

    threads: None for the physical cores that this process may use. optimised_path: where the optimised graph is
    written. profile_prefix: where `end_profiling` writes. Raises what onnxruntime raises, of no common class.
    """
    ort = import_engine("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = _LOG_FATAL
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, _LEVELS[optimise])
    options.inter_op_num_threads = 1
    if (count := threads or usable_cores()) is not None:
        options.intra_op_num_threads = count
    if optimised_path is not None:
        options.optimized_model_filepath = str(optimised_path)
    if profile_prefix is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile_prefix)
    source = model if isinstance(model, bytes) else utf8_path(model)
    return ort.InferenceSession(source, options, providers=list(providers))


def open_model(path: Path, device: str, threads: int | None) -> Backend:
    """Load an `.onnx` file."""
    providers = _choose_providers(device, import_engine("onnxruntime").get_available_providers())
    with telling(f"onnxruntime cannot load {path}"):
        session = open_session(path, threads, providers=providers)
        provider: str = session.get_providers()[0]
    if device != "auto" and provider != providers[0]:  # onnxruntime falls back without an error
        raise UserError(f"{device} is not usable here ({path} would run on {provider}): give --device cpu")
    with telling(f"{path} holds names or metadata that are no text"):
        passport = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        takes, gives = _described(session.get_inputs()), _described(session.get_outputs())
    info = parse_passport(passport, str(path))
    check_signature(takes, gives, info.input_px, str(path))
    names = list(OUTPUT_SHAPES)

    def infer(image: NDArray[np.float32]) -> Outputs:
        return dict(zip(names, session.run(names, {INPUT_NAME: image}), strict=True))

    return Backend("onnxruntime", path, info, provider, infer)


def _choose_providers(device: str, available: list[str]) -> list[str]:
    """Return the wanted provider first, the CPU's after it for what the first cannot run."""
    if device == "auto":
        return [name for name in _PROVIDERS.values() if name in available]
    wanted = _PROVIDERS[device]
    if wanted not in available:
        raise UserError(f"this onnxruntime has no {wanted}: install onnxruntime-gpu, or use the device cpu")
    return list(dict.fromkeys([wanted, CPU_PROVIDER]))


def _described(nodes: Any) -> dict[str, str]:
    return {node.name: f"{'float32' if node.type == _FLOAT_TENSOR else node.type} {node.shape}" for node in nodes}
