"""Model files -> loaded models: the file's suffix says which engine runs it."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path

from ..errors import UserError, first_line, unknown_name
from ..files import check_regular
from .backend import Backend

MAX_MODEL_BYTES = 2 * 2**30  # protobuf's own limit
_MAX_PACKAGE_FILES = 100
_MAX_THREADS = 256

# Modules of this package, imported only where a file asks for one: most devices have one engine.
ENGINES = {
    ".onnx": "session",
    ".engine": "tensorrt_engine",
    ".mlpackage": "coreml",
    ".xml": "openvino_engine",
    ".tflite": "litert_engine",
}


def open_backend(path: Path, device: str = "auto", threads: int | None = None) -> Backend:
    """Load a model file with the engine its suffix names; a UserError where it is damaged or no model.

    device is auto (the fastest there is), cpu or one that the engine names, such as cuda; threads is for CPUs, None
    leaves it to the engine.
    """
    if threads is not None and not (isinstance(threads, int) and 1 <= threads <= _MAX_THREADS):
        raise UserError(f"threads is {threads}: give a whole number from 1 to {_MAX_THREADS}")
    suffix = path.suffix.lower()
    if suffix not in ENGINES:
        raise UserError(f"{path} has no suffix that names an engine: give one of {', '.join(ENGINES)}")
    check_model_file(path)
    engine = importlib.import_module(f".{ENGINES[suffix]}", __package__)
    if device not in engine.DEVICES:
        raise unknown_name(f"device of {suffix} files", device, engine.DEVICES)
    if threads is not None and not engine.TAKES_THREADS:
        raise UserError(f"threads has no effect on {suffix} files: leave it out")
    backend: Backend = engine.open_model(path, device, threads)
    return backend


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
