"""Memory that is used again from frame to frame, so that a running program asks the system for no more of it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

# An array of a larger image is made anew each time: one such picture must not keep its memory for good.
MAX_KEPT_BYTES = 64 * 2**20


class Scratch:
    """Arrays by name, for one thread at a time. Their content is whatever was there last."""

    def __init__(self) -> None:
        self._blocks: dict[str, NDArray[np.uint8]] = {}
        self._arrays: dict[str, NDArray[Any]] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """A contiguous array; the next call with its name may give out the same memory."""
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


class ScratchPool:
    """As many of them as threads work at once."""

    def __init__(self) -> None:
        self._free: deque[Scratch] = deque()  # its pop and append are atomic

    @contextmanager
    def taken(self) -> Iterator[Scratch]:
        """One for the block's own use."""
        try:
            scratch = self._free.pop()
        except IndexError:
            scratch = Scratch()
        try:
            yield scratch
        finally:
            self._free.append(scratch)
