"""The GPU, asked through the driver's library before TensorRT is touched: that fails badly where there is none."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass

from runtime.backends.trt_api import cuda_version
from runtime.errors import UserError

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
ON_THE_DEVICE = "an engine is built on the device it is for: python -m compress.tensorrt FILE.onnx --target NAME, there"

_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76  # of CUdevice_attribute


@dataclass(frozen=True)
class Gpu:
    """The first GPU of this machine."""

    name: str
    compute_capability: tuple[int, int]
    driver_version: int  # 12060 is CUDA 12.6


def probe_gpu(library: str = LIBRARY) -> Gpu:
    """The GPU; a UserError that says what is missing and what to do."""
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        raise UserError(f"there is no NVIDIA driver here ({library}): {ON_THE_DEVICE}") from None
    if status := cuda.cuInit(0):
        raise UserError(f"the NVIDIA driver finds no GPU (cuInit gives {status}): {ON_THE_DEVICE}")
    device, number = ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(100)
    calls = (
        ("cuDeviceGet", (ctypes.byref(device), 0)),
        ("cuDeviceGetName", (name, len(name), device)),
        ("cuDriverGetVersion", (ctypes.byref(number),)),
    )
    for call, arguments in calls:
        _checked(call, getattr(cuda, call)(*arguments))
    capability = [_attribute(cuda, a, device) for a in (_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR)]
    return Gpu(name.value.decode(errors="replace"), (capability[0], capability[1]), number.value)


def describe(gpu: Gpu) -> str:
    """One line."""
    major, minor = gpu.compute_capability
    return f"{gpu.name}, compute capability {major}.{minor}, CUDA {cuda_version(gpu.driver_version)}"


def _attribute(cuda: ctypes.CDLL, attribute: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    _checked("cuDeviceGetAttribute", cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device))
    return value.value


def _checked(call: str, status: int) -> None:
    if status:
        raise UserError(f"the NVIDIA driver does not answer ({call} gives {status}): {ON_THE_DEVICE}")
