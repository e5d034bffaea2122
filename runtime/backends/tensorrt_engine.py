"""TensorRT engine files in the runner."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .backend import Backend
from .contract import INPUT_NAME, OUTPUT_SHAPES, Outputs, check_signature, float32_tensor, input_shape
from .engine_passport import check_engine, read_engine_passport
from .trt_api import DEVICE, collecting_logger, first_error, import_pycuda, import_tensorrt, machine_here

DEVICES = ("auto", "cuda")
TAKES_THREADS = False
_ALIGNMENT = 64  # numbers: TensorRT wants every tensor's address at a multiple of 256 bytes


class TensorRTBackend(Backend):
    """A `.engine` file with its passport. Load only engines that you built: TensorRT trusts them as it trusts code.

    Memory and stream are made once: a frame is one copy in, one run, one copy out. pycuda's contexts belong to threads:
    every call makes the device's primary context current, so that threads may share a backend, one after the other.
    """

    def __init__(self, path: Path, device: str, threads: int | None) -> None:
        passport, info = read_engine_passport(path)
        self._cuda = cuda = import_pycuda()
        trt = import_tensorrt()
        plan = path.read_bytes()
        check_engine(passport, path, plan, machine_here(cuda, trt.__version__))
        gpu = cuda.Device(DEVICE)
        super().__init__("TensorRT", path, info, f"TensorRT {trt.__version__} on {gpu.name()}", self._frame)
        self._lock = threading.Lock()
        self._arenas: list[_Arena] = []
        self._device_context: Any = gpu.retain_primary_context()
        try:
            with self._current():
                self._open(trt, plan, path)
        except BaseException:
            self.close()
            raise

    def _open(self, trt: Any, plan: bytes, path: Path) -> None:
        logger, messages = collecting_logger(trt)
        self._runtime = trt.Runtime(logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise UserError(f"TensorRT cannot load {path}: {first_error(messages)}")
        check_signature(*_signature(trt, self._engine), self.info.input_px, str(path))
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise UserError(f"TensorRT has no memory for {path}: {first_error(messages)}")
        self.device_memory_bytes = int(self._engine.device_memory_size_v2)  # to run, without weights and tensors
        self._stream = self._cuda.Stream()
        for shapes in ({INPUT_NAME: input_shape(self.info.input_px)}, OUTPUT_SHAPES):
            arena = _Arena(self._cuda, shapes)
            self._arenas.append(arena)
            for name, address in arena.addresses.items():
                self._context.set_tensor_address(name, address)

    @contextlib.contextmanager
    def _current(self) -> Iterator[None]:
        """Make the GPU's primary context this thread's for the block."""
        self._device_context.push()
        try:
            yield
        finally:
            self._device_context.pop()

    def _frame(self, image: NDArray[np.float32]) -> Outputs:
        with self._lock, self._current():
            taken, given = self._arenas
            np.copyto(taken.views[INPUT_NAME], image)
            self._cuda.memcpy_htod_async(taken.device, taken.host, self._stream)
            if not self._context.execute_async_v3(self._stream.handle):
                raise RuntimeError("it could not be started")
            self._cuda.memcpy_dtoh_async(given.host, given.device, self._stream)
            self._stream.synchronize()
            return {name: view.copy() for name, view in given.views.items()}

    def close(self) -> None:
        """Free everything, in the order of dependence; the primary context stays where others have it, too."""
        super().close()
        with self._lock:
            if self._device_context is None:
                return
            with self._current():
                if self._arenas:
                    self._stream.synchronize()
                for arena in self._arenas:
                    arena.free()
                self._context = self._engine = self._runtime = self._stream = None
            self._device_context.detach()
            self._device_context = None


class _Arena:
    """Float32 tensors side by side, once on the device and once in page-locked memory, so that one copy moves all."""

    def __init__(self, cuda: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
        sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
        ends = np.cumsum([-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes.values()]).tolist()
        starts = dict(zip(sizes, [0, *ends], strict=False))
        self.host: Any = cuda.pagelocked_empty(ends[-1], np.float32)
        self.host[:] = 0
        self.device: Any = cuda.mem_alloc(4 * ends[-1])
        self.addresses = {name: int(self.device) + 4 * start for name, start in starts.items()}
        self.views = {n: self.host[start : start + sizes[n]].reshape(shapes[n]) for n, start in starts.items()}

    def free(self) -> None:
        self.device.free()
        self.views = {}
        self.host = None  # pycuda unlocks the memory with the last reference


def _signature(trt: Any, engine: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Return what an engine takes and gives, as `check_signature` compares it."""
    takes, gives = dict[str, str](), dict[str, str]()
    for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
        on_device = engine.get_tensor_location(name) == trt.TensorLocation.DEVICE
        is_float = engine.get_tensor_dtype(name) == trt.DataType.FLOAT
        shape = float32_tensor(tuple(engine.get_tensor_shape(name)))
        sort = takes if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else gives
        sort[name] = shape if on_device and is_float else "of another type or place"
    return takes, gives


open_model = TensorRTBackend
