"""LiteRT models (TensorFlow Lite's of before) as a backend of the runner: a `.tflite`, on the CPU by XNNPACK."""

from __future__ import annotations

import struct
import threading
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError, first_line, unknown_name
from ..machine import usable_cores
from .contract import INPUT_NAME, METADATA_KEY, OUTPUT_SHAPES, Outputs, check_signature, float32_tensor, parse_passport

DEVICES = ("auto", "cpu")
_IDENTIFIER = b"TFL3"  # of these files, after four bytes


class LiteRTBackend:
    """A `.tflite` file with one signature, whose names are the graph contract's."""

    def __init__(self, path: Path, device: str, threads: int | None) -> None:
        if device not in DEVICES:
            raise unknown_name("device", device, DEVICES)
        litert, content = import_litert(), path.read_bytes()
        if content[4:8] != _IDENTIFIER:
            raise UserError(f"{path} is no LiteRT model: export it again")
        try:
            interpreter = litert.Interpreter(model_content=content, num_threads=threads or usable_cores())
            interpreter.allocate_tensors()
            self._run: Any = interpreter.get_signature_runner()
        except (ValueError, RuntimeError) as error:
            raise UserError(f"LiteRT cannot load {path}: {first_line(error)}; export it again") from None
        self.info = parse_passport(passport_in(content), str(path))
        parts = self._run.get_input_details(), self._run.get_output_details()
        takes, gives = ({name: _described(tensor) for name, tensor in part.items()} for part in parts)
        check_signature(takes, gives, self.info.input_px, str(path))
        self.version: str = version("ai-edge-litert")
        self.provider = f"LiteRT {self.version}, CPU"
        self._path = path
        self._lock = threading.Lock()  # an interpreter runs one image at a time

    def run(self, image: NDArray[np.float32]) -> Outputs:
        """NCHW, RGB, 0..1 -> the outputs of the graph contract."""
        with self._lock:
            if self._run is None:
                raise ValueError("the model is closed")
            try:
                found = self._run(**{INPUT_NAME: image})
            except (ValueError, RuntimeError) as error:
                raise UserError(f"LiteRT cannot run {self._path}: {first_line(error)}; export it again") from None
        return {name: found[name] for name in OUTPUT_SHAPES}

    def close(self) -> None:
        """Let go of the model."""
        with self._lock:
            self._run = None


def import_litert() -> Any:
    """Import the interpreter's module, or raise a UserError that says what to install."""
    try:
        from ai_edge_litert import interpreter
    except ImportError as error:
        raise UserError(
            f"ai-edge-litert cannot be imported ({first_line(error)}): pip install ai-edge-litert"
        ) from None
    return interpreter


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
