"""How inner loops are compiled, once for the CPU and once for a GPU, and where what was compiled is kept.

A kernel is a function of (first, step, ...arrays) that works on the items first, first + step, ... of its count. On a
CPU it is called with 0 and 1, so that nothing runs beside it and atomic operations are plain ones; processes are the
parallelism there. On a GPU every thread takes its own items. Kernels allocate nothing, as none may on a GPU.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from runtime.errors import UserError
from training.data.cache import cache_dir

_BLOCK = 128  # threads


def _keeps() -> bool:
    """Whether numba may keep what it compiles; sets its folder, which it reads when it is imported."""
    try:
        folder = Path(os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_dir() / "numba")))
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except (OSError, UserError):  # each process compiles anew
        return False


_KEEPS = _keeps()

from numba import njit  # noqa: E402 (after its folder is set)
from numba.extending import overload  # noqa: E402

Launch = Callable[..., None]

geometry = njit(cache=_KEEPS)
# Without reference counts kernels are twice as fast.
kernel = njit(cache=_KEEPS, _nrt=False, error_model="numpy")
part_of_kernel = njit(cache=_KEEPS, _nrt=False, error_model="numpy", forceinline=True)


def lower(array: Any, index: Any, value: Any) -> None:
    """Keep the smaller of array[index] and the value; on a GPU whoever else does so."""
    if value < array[index]:
        array[index] = value


@overload(lower, target="generic")
def _lower(array: Any, index: Any, value: Any) -> Any:
    def plain(array: Any, index: Any, value: Any) -> None:
        if value < array[index]:
            array[index] = value

    return plain


def launch_on_cpu(body: Any, count: int, *arrays: Any) -> None:
    """Run a kernel over `count` items of numpy arrays."""
    body(0, 1, count, *arrays)


def launch_on_gpu(body: Any, count: int, *arrays: Any) -> None:
    """Run a kernel over `count` items of arrays on the GPU: torch's, or anything with the CUDA array interface."""
    from numba import cuda  # needs a driver

    def shared(array: Any) -> Any:
        if isinstance(array, tuple):  # a named one keeps its names
            return type(array)(*map(shared, array))
        return cuda.as_cuda_array(array) if hasattr(array, "__cuda_array_interface__") else array

    _gpu_kernel(body)[-(-count // _BLOCK), _BLOCK]((count, *map(shared, arrays)))


@cache
def _gpu_kernel(body: Any) -> Any:
    from numba import cuda

    @overload(lower, target="cuda")
    def _(array: Any, index: Any, value: Any) -> Any:
        def atomic(array: Any, index: Any, value: Any) -> None:
            cuda.atomic.min(array, index, value)

        return atomic

    @cuda.jit
    def run(arguments: Any) -> None:
        body(cuda.grid(1), cuda.gridsize(1), *arguments)

    return run
