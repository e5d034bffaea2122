"""Memory that is used again from frame to frame: fresh pages for every frame cost a fifth of er-nano's time."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

# An array of a larger image is made anew each time: one such picture must not keep its memory for good.
MAX_KEPT_BYTES = 64 * 2**20


class Scratch(threading.local):
    """Arrays by name, each thread's its own. Their content is whatever was there last."""

    def __init__(self) -> None:
        self._blocks: dict[str, NDArray[np.uint8]] = {}
        self._arrays: dict[str, NDArray[Any]] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return a contiguous array; the thread's next call with its name may give out the same memory."""
        array = self._arrays.get(name)
        if array is not None and array.shape == shape and array.dtype == dtype:
            return array
        size_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        if size_bytes > MAX_KEPT_BYTES:
            return np.empty(shape, dtype)
        block = self._blocks.get(name)
        if block is None or len(block) < size_bytes:
            block = self._blocks[name] = np.empty(size_bytes, np.uint8)
        array = self._arrays[name] = block[:size_bytes].view(dtype).reshape(shape)
        return array
