"""ONNX files as a backend of the runner, by onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError, first_line, unknown_name
from .contract import INPUT_NAME, METADATA_KEY, OUTPUT_SHAPES, Outputs, check_signature, parse_passport
from .session import import_onnxruntime, open_session

_PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}  # the fastest first
_FLOAT_TENSOR = "tensor(float)"


class OnnxRuntimeBackend:
    """An `.onnx` file."""

    def __init__(self, path: Path, device: str, threads: int | None) -> None:
        providers = _choose_providers(device, import_onnxruntime().get_available_providers())
        try:
            session = open_session(path, threads, providers=providers)
        except Exception as error:  # onnxruntime has a class for every status, without a common one
            raise UserError(f"onnxruntime cannot load {path}: {first_line(error)}; export it again") from None
        self.provider: str = session.get_providers()[0]
        if device != "auto" and self.provider != providers[0]:  # onnxruntime falls back without an error
            raise UserError(f"{device} is not usable here ({path} would run on {self.provider}): give --device cpu")
        try:
            passport = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
            takes, gives = _described(session.get_inputs()), _described(session.get_outputs())
        except UnicodeDecodeError:
            raise UserError(f"{path} holds names or metadata that are no text: export it again") from None
        self.info = parse_passport(passport, str(path))
        check_signature(takes, gives, self.info.input_px, str(path))
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


def _choose_providers(device: str, available: list[str]) -> list[str]:
    """Return the wanted provider first, the CPU's after it for what the first cannot run."""
    if device == "auto":
        return [name for name in _PROVIDERS.values() if name in available]
    if device not in _PROVIDERS:
        raise unknown_name("device", device, ["auto", *_PROVIDERS])
    wanted = _PROVIDERS[device]
    if wanted not in available:
        raise UserError(f"this onnxruntime has no {wanted}: install onnxruntime-gpu, or use the device cpu")
    return list(dict.fromkeys([wanted, _PROVIDERS["cpu"]]))


def _described(nodes: Any) -> dict[str, str]:
    return {node.name: f"{'float32' if node.type == _FLOAT_TENSOR else node.type} {node.shape}" for node in nodes}
