"""OpenVINO models as a backend of the runner: the `.xml` of an IR, with its weights beside it (`.bin`)."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError, first_line, unknown_name
from ..files import check_regular
from ..machine import usable_cores
from .contract import INPUT_NAME, METADATA_KEY, OUTPUT_SHAPES, Outputs, check_signature, float32_tensor, parse_passport

DEVICES = {"auto": "f32", "cpu": "f32", "cpu-bf16": "bf16"}  # with the precision that the CPU computes in
MAX_WEIGHTS_BYTES = 2 * 2**30


class OpenVINOBackend:
    """An `.xml` with its `.bin`, or an `.onnx` file, which OpenVINO reads as well."""

    def __init__(self, path: Path, device: str, threads: int | None) -> None:
        if device not in DEVICES:
            raise unknown_name("device", device, DEVICES)
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": DEVICES[device], "PERFORMANCE_HINT": "LATENCY"}
        options["ENABLE_CPU_PINNING"] = False
        options["INFERENCE_NUM_THREADS"] = threads or usable_cores() or 0  # 0: its own choice
        ov = import_openvino()
        self.version: str = ov.__version__.partition("-")[0]
        model = read_model(path)
        self.info = parse_passport(passport_in(model), str(path))
        takes, gives = ({n.get_any_name(): _described(n) for n in nodes} for nodes in (model.inputs, model.outputs))
        check_signature(takes, gives, self.info.input_px, str(path))
        try:
            compiled = ov.Core().compile_model(model, "CPU", options)
            self._request: Any = compiled.create_infer_request()
        except Exception as error:  # RuntimeError of many kinds
            raise UserError(f"OpenVINO cannot load {path}: {_told(error)}; export it again") from None
        precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.provider = f"OpenVINO {self.version}, CPU, {precision}"
        self._path = path
        self._lock = threading.Lock()  # a request runs one image at a time

    def run(self, image: NDArray[np.float32]) -> Outputs:
        """NCHW, RGB, 0..1 -> the outputs of the graph contract."""
        with self._lock:
            try:
                self._request.infer({INPUT_NAME: image}, share_inputs=True)
                return {name: self._request.get_tensor(name).data.copy() for name in OUTPUT_SHAPES}
            except Exception as error:
                raise UserError(f"OpenVINO cannot run {self._path}: {_told(error)}; export it again") from None

    def close(self) -> None:
        """Let go of the model."""
        self._request = None


def import_openvino() -> Any:
    """Import openvino, or raise a UserError that says what to install."""
    try:
        import openvino
    except ImportError as error:
        raise UserError(f"openvino cannot be imported ({first_line(error)}): pip install openvino") from None
    return openvino


def read_model(path: Path) -> Any:
    """Read an `.xml` with its `.bin`, or an `.onnx`, into memory: the files may be replaced while it is used."""
    if path.suffix.lower() == ".xml":
        with path.open("rb") as file:
            if b"<net " not in file.read(256):  # any of OpenVINO's parsers would try it
                raise UserError(f"{path} is no OpenVINO model: export it again")
        check_regular(path.with_suffix(".bin"), "the weights beside a model", MAX_WEIGHTS_BYTES)
    core = import_openvino().Core()
    core.set_property({"ENABLE_MMAP": False})
    try:
        return core.read_model(path)
    except Exception as error:
        raise UserError(f"OpenVINO cannot load {path}: {_told(error)}; export it again") from None


def passport_in(model: Any) -> str | None:
    """Return the passport's text in a model that was read; None where there is none."""
    for place in ([METADATA_KEY], ["framework", METADATA_KEY]):  # the second: an ONNX file's metadata
        if model.has_rt_info(place):
            value = model.get_rt_info(place).value
            return value if isinstance(value, str) else None
    return None


def _described(node: Any) -> str:
    kind = node.get_element_type().get_type_name()
    if kind == "f32" and node.partial_shape.is_static:
        return float32_tensor(tuple(node.shape))
    return f"{kind} {node.partial_shape}"


def _told(error: Exception) -> str:
    """Return the last line with words in it: OpenVINO begins with places in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
