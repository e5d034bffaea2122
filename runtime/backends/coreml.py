"""Core ML packages in the runner, on a Mac. On an iPhone, Swift takes this place: docs/iphone.md."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .backend import Backend, import_engine, telling
from .contract import INPUT_NAME, METADATA_KEY, OUTPUT_SHAPES, Outputs, check_signature, float32_tensor, parse_passport

DEVICES = {"auto": "ALL", "cpu": "CPU_ONLY"}  # with the units' names: coremltools.ComputeUnit
TAKES_THREADS = False
_FLOAT32 = 65568  # ArrayFeatureType.FLOAT32


def open_model(path: Path, device: str, threads: int | None) -> Backend:
    """Load an `.mlpackage`. Where its operations run (CPU, GPU, Neural Engine) is Core ML's own choice."""
    if "darwin" not in sys.platform:
        raise UserError(f"{path}: Core ML runs on Apple's systems alone: here, give the .onnx of the same model")
    ct = import_engine("coremltools")  # seconds, and half of Python's packages
    with telling(f"Core ML cannot load {path}"):
        model = ct.models.MLModel(str(path), compute_units=ct.ComputeUnit[DEVICES[device]])
        description, passport = model.get_spec().description, model.user_defined_metadata.get(METADATA_KEY)
    info = parse_passport(passport, str(path))
    takes, gives = ({f.name: _described(f, path) for f in part} for part in (description.input, description.output))
    check_signature(takes, gives, info.input_px, str(path))
    lock = threading.Lock()  # Core ML: one prediction at a time for each model

    def infer(image: NDArray[np.float32]) -> Outputs:
        with lock:
            found = model.predict({INPUT_NAME: image})
        return {name: np.asarray(found[name], np.float32).reshape(shape) for name, shape in OUTPUT_SHAPES.items()}

    return Backend("Core ML", path, info, f"Core ML, {DEVICES[device]}", infer)


def _described(feature: Any, path: Path) -> str:
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        raise UserError(f"{path} takes a picture, for apps: for the runner, export it without --image-input")
    array = feature.type.multiArrayType
    if kind != "multiArrayType" or array.dataType != _FLOAT32:
        return f"{kind} of another type"
    # Core ML writes no shape for the results of a program.
    return float32_tensor(tuple(array.shape) or OUTPUT_SHAPES.get(feature.name, ()))
