"""One engine on one GPU: memory and stream are made once, a frame is one copy in, one run, one copy out.

pycuda's contexts belong to threads: every call makes the device's primary context current for as long as it takes, so
that threads may share a session. They run one after the other.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.backends.trt_api import DEVICE, collecting_logger, first_error
from runtime.errors import UserError, first_line

Shapes = Mapping[str, tuple[int, ...]]

ON_THE_DEVICE = "engines are built and run on the device they are for (docs/jetson.md); elsewhere, use the .onnx file"
_ALIGNMENT_BYTES = 256  # that TensorRT wants of every tensor's address


def import_pycuda() -> Any:
    """Return pycuda.driver, initialised; a UserError where it, the driver or the GPU is missing.

    Call it before TensorRT is imported, whose library fails badly without a driver.
    """
    try:
        import pycuda.driver as cuda

        cuda.init()
        count = cuda.Device.count()
    except ImportError as error:
        reason = f"there is no NVIDIA driver here, or pycuda is missing ({first_line(error)})"
        raise UserError(f"{reason}: {ON_THE_DEVICE}") from None
    except Exception as error:  # pycuda.driver.Error, which is only known once that is imported
        raise UserError(f"CUDA does not start ({first_line(error)}): {ON_THE_DEVICE}") from None
    if not count:
        raise UserError(f"there is no NVIDIA GPU here: {ON_THE_DEVICE}")
    return cuda


class CudaSession:
    """A deserialised engine with everything that a frame needs.

    Inputs and outputs are float32 with static shapes: `inputs` and `outputs` say which there must be.
    """

    def __init__(self, trt: Any, cuda: Any, plan: bytes, inputs: Shapes, outputs: Shapes) -> None:
        """Raises UserError where the engine cannot be loaded or does not keep the shapes."""
        self._cuda = cuda
        self._lock = threading.Lock()
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._stream: Any = None
        self._arenas: list[_Arena] = []
        device = cuda.Device(DEVICE)
        self.gpu_name = str(device.name())
        self._device_context: Any = device.retain_primary_context()
        try:
            with self._current():
                self._open(trt, plan, inputs, outputs)
        except BaseException:
            self.close()
            raise

    def _open(self, trt: Any, plan: bytes, inputs: Shapes, outputs: Shapes) -> None:
        logger, messages = collecting_logger(trt)
        self._runtime = trt.Runtime(logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise UserError(f"TensorRT cannot load the engine: {first_error(messages)}")
        check_tensors(trt, self._engine, inputs, outputs)
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise UserError(f"TensorRT has no memory for the engine: {first_error(messages)}")
        self.device_memory_bytes = int(self._engine.device_memory_size_v2)  # to run, without weights and tensors
        self._stream = self._cuda.Stream()
        for shapes in (inputs, outputs):
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

    def run(self, values: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Return the outputs by name, copies that the caller may keep."""
        with self._lock:
            if self._device_context is None:
                raise ValueError("the session is closed")
            taken, given = self._arenas
            with self._current():
                for name, view in taken.views.items():
                    np.copyto(view, values[name], casting="no")
                self._cuda.memcpy_htod_async(taken.device, taken.host, self._stream)
                if not self._context.execute_async_v3(self._stream.handle):
                    raise UserError("TensorRT could not run the engine: build it again on this device")
                self._cuda.memcpy_dtoh_async(given.host, given.device, self._stream)
                self._stream.synchronize()
                return {name: view.copy() for name, view in given.views.items()}

    def close(self) -> None:
        """Free everything, in the order of dependence; a second call does nothing.

        The primary context stays alive where TensorRT or others of this process have it, too.
        """
        with self._lock:
            if self._device_context is None:
                return
            with self._current():
                if self._stream is not None:
                    self._stream.synchronize()
                for arena in self._arenas:
                    arena.free()
                self._context = self._engine = self._runtime = self._stream = None
            self._device_context.detach()
            self._device_context = None


class _Arena:
    """Float32 tensors side by side, once on the device and once in page-locked memory, so that one copy moves all."""

    def __init__(self, cuda: Any, shapes: Shapes) -> None:
        sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
        steps = [-(-4 * size // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES for size in sizes.values()]
        starts = dict(zip(sizes, np.cumsum([0, *steps[:-1]]).tolist(), strict=True))
        self.host: Any = cuda.pagelocked_empty(sum(steps) // 4, np.float32)
        self.host[:] = 0
        self.device: Any = cuda.mem_alloc(sum(steps))
        self.addresses = {name: int(self.device) + start for name, start in starts.items()}
        self.views = {
            name: self.host[start // 4 : start // 4 + sizes[name]].reshape(shapes[name])
            for name, start in starts.items()
        }

    def free(self) -> None:
        self.device.free()
        self.views = {}
        self.host = None  # pycuda unlocks the memory with the last reference


def check_tensors(trt: Any, engine: Any, inputs: Shapes, outputs: Shapes) -> None:
    """Raise a UserError unless the engine has just these float32 tensors, on the device."""
    expected = {name: (trt.TensorIOMode.INPUT, tuple(shape), True) for name, shape in inputs.items()}
    expected |= {name: (trt.TensorIOMode.OUTPUT, tuple(shape), True) for name, shape in outputs.items()}
    found = {}
    for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
        on_device = engine.get_tensor_location(name) == trt.TensorLocation.DEVICE
        is_float = engine.get_tensor_dtype(name) == trt.DataType.FLOAT
        found[name] = (engine.get_tensor_mode(name), tuple(engine.get_tensor_shape(name)), on_device and is_float)
    wrong = [name for name in expected | found if expected.get(name) != found.get(name)]
    if wrong:
        names = ", ".join(wrong)[:200]
        raise UserError(f"the engine's tensors are not the graph contract's, as float32 ({names}): build it again")
