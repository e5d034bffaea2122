"""TensorRT engine files as a backend of the runner."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.backends.contract import INPUT_NAME, OUTPUT_SHAPES, input_shape
from runtime.backends.cuda_session import CudaSession, import_pycuda
from runtime.backends.engine_passport import check_engine, read_engine_passport
from runtime.backends.trt_api import import_tensorrt, machine_here
from runtime.errors import UserError, unknown_name

DEVICES = ("auto", "cuda")


class TensorRTBackend:
    """A `.engine` file with its passport. Load only engines that you built: TensorRT trusts them as it trusts code."""

    def __init__(self, path: Path, device: str, threads: int | None) -> None:
        if device == "cpu":
            raise UserError(f"{path} runs on a GPU alone: give the .onnx file of the same model for the device cpu")
        if device not in DEVICES:
            raise unknown_name("device", device, DEVICES)
        if threads is not None:
            raise UserError("threads has no effect on a TensorRT engine: leave it out")
        passport, self.info = read_engine_passport(path)
        cuda = import_pycuda()
        trt = import_tensorrt()
        plan = path.read_bytes()
        check_engine(passport, path, plan, machine_here(cuda, trt.__version__))
        self._shape = input_shape(self.info.input_px)
        self._session = CudaSession(trt, cuda, plan, {INPUT_NAME: self._shape}, OUTPUT_SHAPES)
        self.device_memory_bytes = self._session.device_memory_bytes
        self.provider = f"TensorRT {trt.__version__} on {self._session.gpu_name}"

    def run(self, image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """NCHW, RGB, 0..1 -> the outputs of the graph contract."""
        if image.shape != self._shape or image.dtype != np.float32:
            raise ValueError(f"the image is {image.dtype} {image.shape}, not float32 {self._shape}")
        return self._session.run({INPUT_NAME: image})

    def close(self) -> None:
        """Free the engine, its memory and the GPU's context."""
        self._session.close()
