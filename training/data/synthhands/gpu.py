"""Kernels on a GPU, by numba.cuda: import it where there is one (or NUMBA_ENABLE_CUDASIM=1 for numba's simulator)."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import cuda
from numba.extending import overload

from runtime.errors import UserError
from training.data.synthhands.kernels import Device, lower

BLOCK = 128  # threads


@overload(lower, target="cuda")
def _lower(array: Any, index: Any, value: Any) -> Any:
    def atomic(array: Any, index: Any, value: Any) -> None:
        cuda.atomic.min(array, index, value)

    return atomic


def gpu(device: Any) -> Device:
    """A GPU whose arrays are torch's, which calls it `device`."""
    import torch  # the simulator runs without it

    if not cuda.is_available():
        raise UserError("numba finds no CUDA to draw with: pip install -e '.[gpu]', or give --data a set on the disk")
    cuda.select_device(device.index or 0)
    dtypes = {np.float32: torch.float32, np.int64: torch.int64, np.uint8: torch.uint8}
    return Device(
        launch_on_gpu,
        empty=lambda shape, dtype: torch.empty(shape, dtype=dtypes[dtype], device=device),
        upload=lambda array: torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True),
    )


def launch_on_gpu(body: Any, count: int, *arrays: Any) -> None:
    """Run a kernel over `count` items of arrays on the GPU: torch's, or anything with the CUDA array interface."""
    kernel_of(body)[-(-count // BLOCK), BLOCK]((count, *map(_shared, arrays)))


def _shared(array: Any) -> Any:
    if isinstance(array, tuple):  # a named one keeps its names
        return type(array)(*map(_shared, array))
    return cuda.as_cuda_array(array) if hasattr(array, "__cuda_array_interface__") else array


@cache
def kernel_of(body: Any) -> Any:
    """The kernel whose threads share the items of a body; numba compiles the body anew, for the device."""

    @cuda.jit
    def run(arguments: Any) -> None:
        body(cuda.grid(1), cuda.gridsize(1), *arguments)

    return run
