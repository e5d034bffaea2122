"""TensorRT engine files as a backend of the runner."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.backends.contract import INPUT_NAME, OUTPUT_SHAPES, input_shape
from runtime.backends.cuda_session import CudaDevice, CudaSession, import_pycuda, machine_here
from runtime.backends.engine_passport import check_engine, read_engine_passport
from runtime.backends.trt_api import import_tensorrt
from runtime.errors import UserError, unknown_name

DEVICES = ("auto", "cuda")


class TensorRTBackend:
    """A `.engine` file with its passport. Load only engines that you built: TensorRT trusts them as it trusts code."""

    def __init__(self, path: Path, device: str, threads: int | None) -> None:
        if device not in DEVICES:
            if device == "cpu":
                raise UserError(f"{path} runs on a GPU alone: give the .onnx file of the same model for the device cpu")
            raise unknown_name("device", device, DEVICES)
        if threads is not None:
            raise UserError("threads has no effect on a TensorRT engine: leave it out")
        passport, self.info = read_engine_passport(path)
        cuda = import_pycuda()
        trt = import_tensorrt()
        self._device = CudaDevice(cuda)
        try:
            plan = path.read_bytes()
            check_engine(passport, path, plan, machine_here(cuda, trt.__version__))
            self._shape = input_shape(self.info.input_px)
            free_bytes = self._device.free_bytes()
            self._session = CudaSession(trt, self._device, plan, {INPUT_NAME: self._shape}, OUTPUT_SHAPES)
            self.loaded_bytes = free_bytes - self._device.free_bytes()  # of CUDA's free memory, taken by loading
        except BaseException:
            self._device.close()
            raise
        self.provider = f"TensorRT {trt.__version__} on {self._device.name}"

    @property
    def device_memory_bytes(self) -> int | None:
        """That TensorRT takes to run the engine, without weights and tensors."""
        return self._session.device_memory_bytes

    def run(self, image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """NCHW, RGB, 0..1 -> the outputs of the graph contract."""
        return self.run_timed(image)[0]

    def run_timed(self, image: NDArray[np.float32]) -> tuple[dict[str, NDArray[np.float32]], float]:
        """Run, and return the GPU's own time for the network, ms, too."""
        if image.shape != self._shape or image.dtype != np.float32:
            raise ValueError(f"the image is {image.dtype} {image.shape}, not float32 {self._shape}")
        return self._session.run({INPUT_NAME: image})

    def close(self) -> None:
        """Free the engine, its memory and the context."""
        self._session.close()
        self._device.close()
