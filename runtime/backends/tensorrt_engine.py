"""TensorRT engines as a backend of the runner."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from runtime.backends.contract import INPUT_NAME, OUTPUT_SHAPES, input_shape
from runtime.backends.cuda_session import CudaDevice, CudaSession, import_pycuda
from runtime.backends.engine_passport import check_engine, read_engine_passport
from runtime.backends.trt_api import import_tensorrt
from runtime.errors import UserError, unknown_name

DEVICES = ("auto", "cuda")


class TensorRTBackend:
    """A `.engine` file with its passport. Load only engines that you built: TensorRT trusts them as it trusts code."""

    def __init__(self, path: Path, device: str, threads: int | None, cuda_graph: bool = False) -> None:
        if device not in DEVICES:
            if device == "cpu":
                raise UserError(f"{path} runs on a GPU alone: give the .onnx file of the same model for the device cpu")
            raise unknown_name("device", device, DEVICES)
        if threads is not None:
            raise UserError("threads has no effect on a TensorRT engine: leave it out")
        self.passport, self.info = read_engine_passport(path)
        cuda = import_pycuda()  # before TensorRT, whose library fails badly without a driver
        trt = import_tensorrt()
        self._device = CudaDevice(cuda)
        try:
            plan = path.read_bytes()
            check_engine(self.passport, path, plan, self._device.machine(trt.__version__))
            self._shape = input_shape(self.info.input_px)
            self._session = CudaSession(
                trt, self._device, plan, {INPUT_NAME: self._shape}, OUTPUT_SHAPES, cuda_graph=cuda_graph
            )
        except BaseException:
            self._device.close()
            raise
        graph = ", CUDA graph" if cuda_graph else ""
        self.provider = f"TensorRT {trt.__version__} on {self._device.name}{graph}"

    @property
    def device_memory_bytes(self) -> int | None:
        """That TensorRT takes to run the engine, without weights and tensors."""
        return self._session.device_memory_bytes

    def run(self, image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """NCHW, RGB, 0..1 -> the outputs of the graph contract."""
        return self.run_timed(image)[0]

    def run_timed(self, image: NDArray[np.float32]) -> tuple[dict[str, NDArray[np.float32]], float]:
        """The same with the GPU's own time for the network, ms."""
        if image.shape != self._shape or image.dtype != np.float32:
            raise ValueError(f"the image is {image.dtype} {image.shape}, not float32 {self._shape}")
        return self._session.run_timed({INPUT_NAME: image})

    def free_bytes(self) -> int:
        """Of the GPU's memory, as cudaMemGetInfo says."""
        return self._device.free_bytes()

    def close(self) -> None:
        """Free the engine, its memory and the context."""
        self._session.close()
        self._device.close()

    def __enter__(self) -> TensorRTBackend:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
