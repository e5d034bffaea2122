"""How inner loops are compiled, once for the CPU and once for a GPU, and where what was compiled is kept.

A kernel is a function of (first, step, ...arrays) that works on the items first, first + step, ... of its count. On a
CPU it is called with 0 and 1, so that nothing runs beside it and atomic operations are plain ones; processes are the
parallelism there. On a GPU every thread takes its own items. Kernels allocate nothing, as none may on a GPU.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import UserError
from training.data.cache import cache_dir


def _keeps() -> bool:
    """Whether numba may keep what it compiles; sets its folder, which it reads when it is imported.

    A folder for each state of the sources: numba sees that a kernel's own file changed, not a constant's of another.
    """
    try:
        sources = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py"))))
        kept = cache_dir() / "numba" / sources.hexdigest()[:12]
        folder = Path(os.environ.setdefault("NUMBA_CACHE_DIR", str(kept)))
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except (OSError, UserError):  # each process compiles anew
        return False


_KEEPS = _keeps()

import numpy as np  # noqa: E402
from numba import njit  # noqa: E402 (after its folder is set)
from numba.extending import register_jitable  # noqa: E402

geometry = njit(cache=_KEEPS)
# Without reference counts kernels are twice as fast.
kernel = njit(cache=_KEEPS, _nrt=False, error_model="numpy")
part_of_kernel = njit(cache=_KEEPS, _nrt=False, error_model="numpy", forceinline=True)


@register_jitable
def lower(array: Any, index: Any, value: Any) -> None:
    """Keep the smaller of array[index] and the value; on a GPU whoever else does so."""
    if value < array[index]:
        array[index] = value


@dataclass(frozen=True)
class Device:
    """Where kernels run."""

    launch: Callable[..., None]  # a kernel over so many items, and its arrays
    empty: Callable[..., Any]  # an array of a shape and a dtype
    upload: Callable[[Any], Any]  # numpy's array -> the device's


CPU = Device(lambda body, count, *arrays: body(0, 1, count, *arrays), np.empty, np.asarray)
