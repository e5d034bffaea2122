"""LiteRT models (TensorFlow Lite's of before) in the runner: a `.tflite`, on the CPU by XNNPACK."""

from __future__ import annotations

import struct
import threading
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..machine import usable_cores
from .backend import Backend, import_engine, telling
from .contract import INPUT_NAME, METADATA_KEY, OUTPUT_SHAPES, Outputs, check_signature, float32_tensor, parse_passport

DEVICES = ("auto", "cpu")
TAKES_THREADS = True
_IDENTIFIER = b"TFL3"  # of these files, after four bytes


def open_model(path: Path, device: str, threads: int | None) -> Backend:
    """Load a `.tflite` file with one signature, whose names are the graph contract's."""
    litert, content = import_engine("ai-edge-litert", "ai_edge_litert.interpreter"), path.read_bytes()
    if content[4:8] != _IDENTIFIER:
        raise UserError(f"{path} is no LiteRT model: export it again")
    with telling(f"LiteRT cannot load {path}"):
        interpreter = litert.Interpreter(model_content=content, num_threads=threads or usable_cores())
        interpreter.allocate_tensors()
        signature = interpreter.get_signature_runner()
    info = parse_passport(passport_in(content), str(path))
    parts = signature.get_input_details(), signature.get_output_details()
    takes, gives = ({name: _described(tensor) for name, tensor in part.items()} for part in parts)
    check_signature(takes, gives, info.input_px, str(path))
    lock = threading.Lock()  # an interpreter runs one image at a time

    def infer(image: NDArray[np.float32]) -> Outputs:
        with lock:
            found = signature(**{INPUT_NAME: image})
        return {name: found[name] for name in OUTPUT_SHAPES}

    return Backend("LiteRT", path, info, f"LiteRT {version('ai-edge-litert')}, CPU", infer)


def passport_in(content: bytes) -> str | None:
    """Return the passport's text in a model's bytes, which are not trusted; None where there is none."""
    from ai_edge_litert import schema_py_generated as schema  # 20,000 lines, for this alone

    try:
        model = schema.Model.GetRootAs(content)
        for entry in map(model.Metadata, range(model.MetadataLength())):
            if entry.Name() == METADATA_KEY.encode():
                return bytes(model.Buffers(entry.Buffer()).DataAsNumpy()).decode()
    except (struct.error, ValueError, TypeError, AttributeError, IndexError):  # places outside the file, or no text
        pass
    return None


def _described(tensor: dict[str, Any]) -> str:
    if tensor["dtype"] == np.float32:
        return float32_tensor(tuple(map(int, tensor["shape"])))
    return f"{np.dtype(tensor['dtype'])} {list(tensor['shape'])}"
