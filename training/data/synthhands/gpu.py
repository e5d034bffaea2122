"""Kernels on a GPU, by numba.cuda: import it where there is one (or NUMBA_ENABLE_CUDASIM=1 for numba's simulator)."""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import cuda
from numba.extending import overload

from training.data.synthhands.kernels import lower

BLOCK = 128  # threads


@overload(lower, target="cuda")
def _lower(array: Any, index: Any, value: Any) -> Any:
    def atomic(array: Any, index: Any, value: Any) -> None:
        cuda.atomic.min(array, index, value)

    return atomic


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
