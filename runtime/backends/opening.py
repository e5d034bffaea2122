"""Model files -> loaded models: the file's suffix says which engine runs it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

from runtime.backends.contract import Backend
from runtime.backends.onnxruntime_engine import OnnxRuntimeBackend
from runtime.errors import UserError, first_line
from runtime.files import check_regular

MAX_MODEL_BYTES = 2 * 2**30  # protobuf's own limit
_MAX_PACKAGE_FILES = 100
_MAX_THREADS = 256


def _open_engine(path: Path, device: str, threads: int | None) -> Backend:
    from runtime.backends.tensorrt_engine import TensorRTBackend  # six modules that only a Jetson needs

    return TensorRTBackend(path, device, threads)


def _open_package(path: Path, device: str, threads: int | None) -> Backend:
    from runtime.backends.coreml import CoreMLBackend  # that only a Mac needs

    return CoreMLBackend(path, device, threads)


def _open_ir(path: Path, device: str, threads: int | None) -> Backend:
    from runtime.backends.openvino_engine import OpenVINOBackend  # that most do without

    return OpenVINOBackend(path, device, threads)


def _open_tflite(path: Path, device: str, threads: int | None) -> Backend:
    from .litert_engine import LiteRTBackend  # that most do without

    return LiteRTBackend(path, device, threads)


BACKENDS: dict[str, Callable[[Path, str, int | None], Backend]] = {
    ".onnx": OnnxRuntimeBackend,
    ".engine": _open_engine,
    ".mlpackage": _open_package,
    ".xml": _open_ir,
    ".tflite": _open_tflite,
}


def open_backend(path: Path, device: str = "auto", threads: int | None = None) -> Backend:
    """Load a model file with the engine its suffix names; a UserError where it is damaged or no model.

    device is auto (the fastest there is), cpu or one that the engine names, such as cuda; threads is for CPUs, None
    leaves it to the engine.
    """
    if threads is not None and not (isinstance(threads, int) and 1 <= threads <= _MAX_THREADS):
        raise UserError(f"threads is {threads}: give a whole number from 1 to {_MAX_THREADS}")
    suffix = path.suffix.lower()
    if suffix not in BACKENDS:
        raise UserError(f"{path} has no suffix that names an engine: give one of {', '.join(BACKENDS)}")
    check_model_file(path)
    return BACKENDS[suffix](path, device, threads)


def check_model_file(path: Path) -> None:
    """Raise a UserError unless the path is a regular file, or a Core ML package, of a sane size."""
    try:
        if not path.exists():
            raise UserError(f"there is no model {path}: check the path, or export one with python compress/export.py")
        if path.suffix.lower() != ".mlpackage":
            check_regular(path, "a model file", MAX_MODEL_BYTES)
            return
        if not (path / "Manifest.json").is_file():
            raise UserError(f"{path} is no Core ML package: it has no Manifest.json")
        files = list(itertools.islice(path.rglob("*"), _MAX_PACKAGE_FILES + 1))
        size_bytes = sum(file.stat().st_size for file in files)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the model {str(path)!r}: {first_line(error)}") from None
    if size_bytes > MAX_MODEL_BYTES or len(files) > _MAX_PACKAGE_FILES:
        raise UserError(f"{path} is larger than any package of this project: check the path")
