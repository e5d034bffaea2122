"""Model files -> loaded models: the file's suffix says which engine runs it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

from ..errors import UserError, first_line
from ..files import check_regular
from .contract import Backend

MAX_MODEL_BYTES = 2 * 2**30  # protobuf's own limit
_MAX_PACKAGE_FILES = 100
_MAX_THREADS = 256


SUFFIXES = (".onnx", ".engine", ".mlpackage", ".xml", ".tflite")


def _engine(suffix: str) -> Callable[[Path, str, int | None], Backend]:
    """The backend of a suffix, imported only where a file asks for it: most devices have one engine."""
    if suffix == ".engine":
        from .tensorrt_engine import TensorRTBackend

        return TensorRTBackend
    if suffix == ".mlpackage":
        from .coreml import CoreMLBackend

        return CoreMLBackend
    if suffix == ".xml":
        from .openvino_engine import OpenVINOBackend

        return OpenVINOBackend
    if suffix == ".tflite":
        from .litert_engine import LiteRTBackend

        return LiteRTBackend
    from .session import OnnxRuntimeBackend

    return OnnxRuntimeBackend


def open_backend(path: Path, device: str = "auto", threads: int | None = None) -> Backend:
    """Load a model file with the engine its suffix names; a UserError where it is damaged or no model.

    device is auto (the fastest there is), cpu or one that the engine names, such as cuda; threads is for CPUs, None
    leaves it to the engine.
    """
    if threads is not None and not (isinstance(threads, int) and 1 <= threads <= _MAX_THREADS):
        raise UserError(f"threads is {threads}: give a whole number from 1 to {_MAX_THREADS}")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path} has no suffix that names an engine: give one of {', '.join(SUFFIXES)}")
    check_model_file(path)
    return _engine(suffix)(path, device, threads)


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
