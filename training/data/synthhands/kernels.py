"""How inner loops are compiled, and where what was compiled is kept: in the project's cache."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from runtime.errors import UserError
from training.data.cache import cache_dir


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

geometry = njit(cache=_KEEPS)
# Kernels allocate nothing, as none may on a GPU: without reference counts they are twice as fast.
kernel = njit(cache=_KEEPS, _nrt=False)
part_of_kernel = njit(cache=_KEEPS, _nrt=False, forceinline=True)
