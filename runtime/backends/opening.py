"""The inference engines behind one small interface, chosen by the model file's suffix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.backends.contract import INPUT_NAME, METADATA_KEY, OUTPUT_SHAPES, ModelInfo, input_shape, parse_passport
from runtime.backends.onnx_sizes import check_declared_sizes
from runtime.backends.session import import_onnxruntime, open_session
from runtime.errors import UserError, first_line, unknown_name

Outputs = dict[str, NDArray[np.float32]]  # names and shapes: contract.OUTPUT_SHAPES

MAX_MODEL_BYTES = 2 * 2**30  # protobuf's own limit
_MAX_THREADS = 256
_MAX_REASON_CHARACTERS = 200
_FLOAT_TENSOR = "tensor(float)"
_ONNX_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Backend(Protocol):
    """One loaded model. `run` may be called from several threads."""

    @property
    def info(self) -> ModelInfo:
        """The model's passport."""

    @property
    def provider(self) -> str:
        """What it really runs on, in the engine's own words."""

    def run(self, image: NDArray[np.float32]) -> Outputs:
        """NCHW, RGB, 0..1 -> the outputs of the graph contract. The caller uses both again: neither may be kept."""

    def close(self) -> None:
        """Let go of the engine's memory."""


class OnnxRuntimeBackend:
    """ONNX files by onnxruntime."""

    def __init__(self, path: Path, device: str, threads: int | None) -> None:
        providers = _choose_providers(device, import_onnxruntime().get_available_providers())
        check_declared_sizes(path)
        try:
            session = open_session(path, threads, providers=providers)
        except Exception as error:  # onnxruntime has a class for every status, without a common one
            raise UserError(f"onnxruntime cannot load {path}: {first_line(error)}; export it again") from None
        self.provider: str = session.get_providers()[0]
        if device != "auto" and self.provider != providers[0]:  # onnxruntime falls back without an error
            raise UserError(f"{device} is not usable here ({path} would run on {self.provider}): give --device cpu")
        try:
            passport = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
            self.info = parse_passport(passport, str(path))
            _check_contract(session, self.info, path)
        except UnicodeDecodeError:
            raise UserError(f"{path} holds names or metadata that are no text: export it again") from None
        self._path = path
        self._session: Any = session

    def run(self, image: NDArray[np.float32]) -> Outputs:
        """NCHW, RGB, 0..1 -> the outputs of the graph contract."""
        names = list(OUTPUT_SHAPES)
        session = self._session
        if session is None:
            raise ValueError("the model is closed")
        try:
            return dict(zip(names, session.run(names, {INPUT_NAME: image}), strict=True))
        except Exception as error:  # what a graph promises, it may still break
            raise UserError(f"onnxruntime cannot run {self._path}: {first_line(error)}; export it again") from None

    def close(self) -> None:
        """Let go of the session."""
        self._session = None


def _open_engine(path: Path, device: str, threads: int | None) -> Backend:
    from runtime.backends.tensorrt_engine import TensorRTBackend

    return TensorRTBackend(path, device, threads)


def _open_package(path: Path, device: str, threads: int | None) -> Backend:
    from runtime.backends.coreml import CoreMLBackend

    return CoreMLBackend(path, device, threads)


BACKENDS: dict[str, Callable[[Path, str, int | None], Backend]] = {
    ".onnx": OnnxRuntimeBackend,
    ".engine": _open_engine,
    ".mlpackage": _open_package,
}


def open_backend(path: Path, device: str = "auto", threads: int | None = None) -> Backend:
    """Load a model file with the engine its suffix names. The file is not trusted.

    device is auto (the fastest there is), cpu or cuda; threads is for CPUs, None leaves it to the engine.
    """
    if threads is not None and not (isinstance(threads, int) and 1 <= threads <= _MAX_THREADS):
        raise UserError(f"threads is {threads}: give a whole number from 1 to {_MAX_THREADS}")
    suffix = path.suffix.lower()
    if suffix not in BACKENDS:
        raise UserError(f"{path} has no suffix that names an engine: give one of {', '.join(BACKENDS)}")
    check_model_file(path)
    return BACKENDS[suffix](path, device, threads)


def check_model_file(path: Path) -> None:
    """A UserError unless the path is a regular file, or a Core ML package, of a sane size."""
    if path.suffix.lower() == ".mlpackage":
        from runtime.backends.coreml import check_package

        check_package(path, MAX_MODEL_BYTES)
        return
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder: give the model file in it")
        if not path.is_file():
            if path.exists():
                raise UserError(f"{path} is not a regular file: give a model file")
            raise UserError(f"there is no model {path}: check the path, or export one with python compress/export.py")
        size_bytes = path.stat().st_size
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the model {str(path)!r}: {first_line(error)}") from None
    if size_bytes == 0:
        raise UserError(f"the model {path} is empty: export it again")
    if size_bytes > MAX_MODEL_BYTES:
        most = f"{MAX_MODEL_BYTES >> 20} MiB"
        raise UserError(f"{path} has {size_bytes >> 20} MiB, a model at most {most}: check the path")


def _choose_providers(device: str, available: list[str]) -> list[str]:
    """The wanted provider first, the CPU's after it for what the first cannot run."""
    if device == "auto":
        return [name for name in reversed(_ONNX_PROVIDERS.values()) if name in available]
    if device not in _ONNX_PROVIDERS:
        raise unknown_name("device", device, ["auto", *_ONNX_PROVIDERS])
    wanted = _ONNX_PROVIDERS[device]
    if wanted not in available:
        raise UserError(f"this onnxruntime has no {wanted}: install onnxruntime-gpu, or use the device cpu")
    return list(dict.fromkeys([wanted, _ONNX_PROVIDERS["cpu"]]))


def _check_contract(session: Any, info: ModelInfo, path: Path) -> None:
    """Names, shapes and types of the graph against the contract."""
    expected = {INPUT_NAME: input_shape(info.input_px)}
    inputs = {node.name: node for node in session.get_inputs()}
    if set(inputs) != set(expected):
        raise UserError(f"{path} takes {_names(inputs)}, not '{INPUT_NAME}': export it with python compress/export.py")
    outputs = {node.name: node for node in session.get_outputs()}
    missing = [name for name in OUTPUT_SHAPES if name not in outputs]
    if missing:
        raise UserError(f"{path} does not give {', '.join(missing)}: export it with python compress/export.py")
    for nodes, shapes in ((inputs, expected), (outputs, OUTPUT_SHAPES)):
        for name, shape in shapes.items():
            node = nodes[name]
            if tuple(node.shape) != shape or node.type != _FLOAT_TENSOR:
                found = f"{node.type} {node.shape}"[:_MAX_REASON_CHARACTERS]
                raise UserError(f"{path}: '{name}' is {found}, not {_FLOAT_TENSOR} {list(shape)}: export it again")


def _names(nodes: dict[str, Any]) -> str:
    return ", ".join(repr(name) for name in nodes)[:_MAX_REASON_CHARACTERS] or "nothing"
