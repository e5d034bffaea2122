"""Core ML packages as a backend of the runner, on a Mac. On an iPhone, Swift takes this place: docs/iphone.md."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError, first_line, unknown_name
from .contract import INPUT_NAME, METADATA_KEY, OUTPUT_SHAPES, Outputs, check_signature, float32_tensor, parse_passport

UNITS = {"auto": "ALL", "cpu": "CPU_ONLY"}  # of coremltools.ComputeUnit
_FLOAT32 = 65568  # ArrayFeatureType.FLOAT32


class CoreMLBackend:
    """An `.mlpackage`. Where its operations run (CPU, GPU, Neural Engine) is Core ML's own choice."""

    def __init__(self, path: Path, device: str, threads: int | None) -> None:
        if device not in UNITS:
            raise unknown_name("device", device, UNITS)
        if threads is not None:
            raise UserError("threads has no effect on a Core ML package: leave it out")
        if "darwin" not in sys.platform:
            raise UserError(f"{path}: Core ML runs on Apple's systems alone: here, give the .onnx of the same model")
        try:
            import coremltools as ct  # seconds, and half of Python's packages
        except ImportError as error:
            raise UserError(f"coremltools cannot be imported ({first_line(error)}): pip install coremltools") from None
        try:
            model = ct.models.MLModel(str(path), compute_units=ct.ComputeUnit[UNITS[device]])
            description = model.get_spec().description
            passport = model.user_defined_metadata.get(METADATA_KEY)
        except Exception as error:  # Core ML's own come as RuntimeError, Exception, or what protobuf raises
            raise UserError(f"Core ML cannot load {path}: {first_line(error)}; export it again") from None
        self.info = parse_passport(passport, str(path))
        takes, gives = ({f.name: _described(f, path) for f in part} for part in (description.input, description.output))
        check_signature(takes, gives, self.info.input_px, str(path))
        self.provider = f"Core ML, {UNITS[device]}"
        self._path = path
        self._model: Any = model
        self._lock = threading.Lock()  # Core ML: one prediction at a time for each model

    def run(self, image: NDArray[np.float32]) -> Outputs:
        """NCHW, RGB, 0..1 -> the outputs of the graph contract."""
        with self._lock:
            try:
                found = self._model.predict({INPUT_NAME: image})
            except Exception as error:
                raise UserError(f"Core ML cannot run {self._path}: {first_line(error)}; export it again") from None
        return {name: np.asarray(found[name], np.float32).reshape(shape) for name, shape in OUTPUT_SHAPES.items()}

    def close(self) -> None:
        """Let go of the model."""
        self._model = None


def _described(feature: Any, path: Path) -> str:
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        raise UserError(f"{path} takes a picture, for apps: for the runner, export it without --image-input")
    array = feature.type.multiArrayType
    if kind != "multiArrayType" or array.dataType != _FLOAT32:
        return f"{kind} of another type"
    # Core ML writes no shape for the results of a program.
    return float32_tensor(tuple(array.shape) or OUTPUT_SHAPES.get(feature.name, ()))
