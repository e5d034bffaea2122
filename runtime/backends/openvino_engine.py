"""OpenVINO models in the runner: the `.xml` of an IR, with its weights beside it (`.bin`)."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..files import check_regular
from ..machine import usable_cores
from .backend import Backend, import_engine, telling
from .contract import INPUT_NAME, METADATA_KEY, OUTPUT_SHAPES, Outputs, check_signature, float32_tensor, parse_passport

DEVICES = {"auto": "f32", "cpu": "f32", "cpu-bf16": "bf16"}  # with the precision that the CPU computes in
TAKES_THREADS = True
MAX_WEIGHTS_BYTES = 2 * 2**30


def open_model(path: Path, device: str, threads: int | None) -> Backend:
    """Load an `.xml` with its `.bin`, or an `.onnx` file, which OpenVINO reads as well."""
    options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": DEVICES[device], "PERFORMANCE_HINT": "LATENCY"}
    options["ENABLE_CPU_PINNING"] = False
    options["INFERENCE_NUM_THREADS"] = threads or usable_cores() or 0  # 0: its own choice
    model = read_model(path)
    info = parse_passport(passport_in(model), str(path))
    takes, gives = ({n.get_any_name(): _described(n) for n in nodes} for nodes in (model.inputs, model.outputs))
    check_signature(takes, gives, info.input_px, str(path))
    ov = import_engine("openvino")
    with telling(f"OpenVINO cannot load {path}"):
        compiled = ov.Core().compile_model(model, "CPU", options)
        request = compiled.create_infer_request()
    lock = threading.Lock()  # a request runs one image at a time

    def infer(image: NDArray[np.float32]) -> Outputs:
        with lock:
            request.infer({INPUT_NAME: image}, share_inputs=True)
            return {name: request.get_tensor(name).data.copy() for name in OUTPUT_SHAPES}

    precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return Backend("OpenVINO", path, info, f"OpenVINO {ov.__version__.partition('-')[0]}, CPU, {precision}", infer)


def read_model(path: Path) -> Any:
    """Read an `.xml` with its `.bin`, or an `.onnx`, into memory: the files may be replaced while it is used."""
    if path.suffix.lower() == ".xml":
        with path.open("rb") as file:
            if b"<net " not in file.read(256):  # any of OpenVINO's parsers would try it
                raise UserError(f"{path} is no OpenVINO model: export it again")
        check_regular(path.with_suffix(".bin"), "the weights beside a model", MAX_WEIGHTS_BYTES)
    core = import_engine("openvino").Core()
    core.set_property({"ENABLE_MMAP": False})
    with telling(f"OpenVINO cannot load {path}"):
        return core.read_model(path)


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
