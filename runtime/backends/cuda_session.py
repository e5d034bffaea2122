"""One engine on one GPU: memory, stream and events are made once, a frame is one copy in, one run, one copy out.

pycuda's contexts belong to threads: every call makes the device's primary context current for as long as it takes, so
that threads may share a session. They run one after the other.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runtime.backends.trt_api import collecting_logger, describe_machine, first_error
from runtime.errors import UserError, first_line

if TYPE_CHECKING:
    from runtime.backends.trt_api import Machine

Shapes = Mapping[str, tuple[int, ...]]

ON_THE_DEVICE = "engines are built and run on the device they are for (docs/jetson.md); elsewhere, use the .onnx file"
_ALIGNMENT_BYTES = 256  # that TensorRT wants of every tensor's address
_DEVICE = 0


def import_pycuda() -> Any:
    """Return pycuda.driver, initialised; a UserError where it, the driver or the GPU is missing.

    Call it before TensorRT is imported, whose library fails badly without a driver.
    """
    try:
        import pycuda.driver as cuda
    except ImportError as error:
        raise UserError(
            f"there is no NVIDIA driver here, or pycuda is missing ({first_line(error)}): {ON_THE_DEVICE}"
        ) from None
    try:
        cuda.init()
        count = cuda.Device.count()
    except cuda.Error as error:
        raise UserError(f"CUDA does not start ({first_line(error)}): {ON_THE_DEVICE}") from None
    if not count:
        raise UserError(f"there is no NVIDIA GPU here: {ON_THE_DEVICE}")
    return cuda


def machine_here(cuda: Any, tensorrt_version: str) -> Machine:
    """Return what engines built here are bound to."""
    return describe_machine(tensorrt_version, cuda.get_driver_version(), cuda.Device(_DEVICE).compute_capability())


class CudaDevice:
    """The GPU's primary context, kept until it is closed."""

    def __init__(self, cuda: Any) -> None:
        self.cuda = cuda
        self._device = cuda.Device(_DEVICE)
        self._context: Any = self._device.retain_primary_context()

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make the context this thread's for the block."""
        self._context.push()
        try:
            yield
        finally:
            self._context.pop()

    @property
    def name(self) -> str:
        """Of the GPU, in the driver's words."""
        return str(self._device.name())

    def free_bytes(self) -> int:
        """Of the GPU's memory, as cudaMemGetInfo says: on a Jetson that is the system's memory."""
        with self.current():
            return int(self.cuda.mem_get_info()[0])

    def close(self) -> None:
        """Let go of the context. It stays alive where TensorRT or others of this process have it, too."""
        if self._context is not None:
            self._context.detach()
            self._context = None


class CudaSession:
    """A deserialised engine with everything that a frame needs.

    Inputs and outputs are float32 with static shapes: `inputs` and `outputs` say which there must be.
    """

    def __init__(self, trt: Any, device: CudaDevice, plan: bytes, inputs: Shapes, outputs: Shapes) -> None:
        """Raises UserError where the engine cannot be loaded or does not keep the shapes."""
        self._lock = threading.Lock()
        self._device = device
        self._closed = False
        cuda = device.cuda
        with device.current(), contextlib.ExitStack() as undo:
            undo.callback(self._release)
            logger, messages = collecting_logger(trt)
            self._runtime: Any = trt.Runtime(logger)
            self._engine: Any = self._runtime.deserialize_cuda_engine(plan)
            if self._engine is None:
                raise UserError(f"TensorRT cannot load the engine: {first_error(messages)}")
            check_tensors(trt, self._engine, inputs, outputs)
            self._context: Any = self._engine.create_execution_context()
            if self._context is None:
                raise UserError(f"TensorRT has no memory for the engine: {first_error(messages)}")
            self._stream: Any = cuda.Stream()
            self._start: Any = cuda.Event()
            self._end: Any = cuda.Event()
            self._in = _Arena(cuda, inputs)
            self._out = _Arena(cuda, outputs)
            for arena in (self._in, self._out):
                for name, address in arena.addresses.items():
                    self._context.set_tensor_address(name, address)
            undo.pop_all()

    @property
    def device_memory_bytes(self) -> int | None:
        """That TensorRT takes to run the engine, without weights and tensors; None where it does not say."""
        return device_memory_bytes(self._engine)

    def run(self, values: Mapping[str, NDArray[np.float32]]) -> tuple[dict[str, NDArray[np.float32]], float]:
        """Return the outputs by name, copies that the caller may keep, and the GPU's own time for the network, ms.

        The time lies between two events on the stream, without the copies.
        """
        cuda = self._device.cuda
        with self._lock:
            if self._closed:
                raise ValueError("the session is closed")
            with self._device.current():
                for name, view in self._in.views.items():
                    np.copyto(view, values[name], casting="no")
                cuda.memcpy_htod_async(self._in.device, self._in.host, self._stream)
                self._start.record(self._stream)
                if not self._context.execute_async_v3(self._stream.handle):
                    raise UserError("TensorRT could not run the engine: build it again on this device")
                self._end.record(self._stream)
                cuda.memcpy_dtoh_async(self._out.host, self._out.device, self._stream)
                self._stream.synchronize()
                device_ms = float(self._end.time_since(self._start))
                return {name: view.copy() for name, view in self._out.views.items()}, device_ms

    def close(self) -> None:
        """Free everything; a second call does nothing."""
        with self._lock:
            if not self._closed:
                with self._device.current():
                    self._release()

    def _release(self) -> None:
        """In the order of dependence; what was not made yet is not there."""
        self._closed = True
        stream = getattr(self, "_stream", None)
        if stream is not None:
            stream.synchronize()
        for name in ("_in", "_out"):
            part = getattr(self, name, None)
            if part is not None:
                part.free()
        for name in ("_context", "_engine", "_runtime", "_start", "_end", "_stream"):
            setattr(self, name, None)


class _Arena:
    """Float32 tensors side by side, once on the device and once in page-locked memory, so that one copy moves all."""

    def __init__(self, cuda: Any, shapes: Shapes) -> None:
        offsets: dict[str, int] = {}
        total = 0
        for name, shape in shapes.items():
            offsets[name] = total
            total += -(-4 * int(np.prod(shape)) // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        self.host: Any = cuda.pagelocked_empty(total // 4, np.float32)
        self.host[:] = 0
        self.device: Any = cuda.mem_alloc(total)
        self.addresses = {name: int(self.device) + offset for name, offset in offsets.items()}
        self.views = {
            name: self.host[offset // 4 : offset // 4 + int(np.prod(shapes[name]))].reshape(shapes[name])
            for name, offset in offsets.items()
        }

    def free(self) -> None:
        self.device.free()
        self.views = {}
        self.host = None  # pycuda unlocks the memory with the last reference


def check_tensors(trt: Any, engine: Any, inputs: Shapes, outputs: Shapes) -> None:
    """Raise a UserError unless the engine has just these float32 tensors, on the device."""
    expected = {name: (trt.TensorIOMode.INPUT, tuple(shape)) for name, shape in inputs.items()}
    expected |= {name: (trt.TensorIOMode.OUTPUT, tuple(shape)) for name, shape in outputs.items()}
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    if set(names) != set(expected):
        has = ", ".join(names)[:200]
        raise UserError(f"the engine takes and gives {has}, not {', '.join(expected)}: build it again")
    for name, (mode, shape) in expected.items():
        has_shape, dtype = tuple(engine.get_tensor_shape(name)), engine.get_tensor_dtype(name)
        if (engine.get_tensor_mode(name), has_shape, dtype) != (mode, shape, trt.DataType.FLOAT):
            raise UserError(f"the engine's '{name}' is {dtype} {list(has_shape)}, not float32 {list(shape)}")
        if engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
            raise UserError(f"the engine's '{name}' is not in the device's memory: build it again")


def device_memory_bytes(engine: Any) -> int | None:
    """What one execution context takes: TensorRT 11 knows only the second version of the question, 8 only the first."""
    for name in ("device_memory_size_v2", "device_memory_size"):
        if hasattr(engine, name):
            return int(getattr(engine, name))
    return None
