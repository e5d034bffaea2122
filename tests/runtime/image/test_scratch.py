"""Memory that is used again."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from runtime.image.scratch import MAX_KEPT_BYTES, Scratch, ScratchPool


def test_the_same_memory_again() -> None:
    scratch = Scratch()
    first = scratch.array("a", (4, 5), np.float32)
    assert first.shape == (4, 5) and first.dtype == np.float32 and first.flags.c_contiguous and first.flags.writeable
    assert scratch.array("a", (4, 5), np.float32) is first
    smaller = scratch.array("a", (2, 3), np.uint8)
    assert np.shares_memory(first, smaller)
    larger = scratch.array("a", (40, 50), np.float64)
    assert not np.shares_memory(first, larger)
    assert np.shares_memory(scratch.array("a", (4, 5), np.float32), larger)  # and stays that large
    assert not np.shares_memory(scratch.array("b", (4, 5), np.float32), larger)


def test_one_huge_array_is_not_kept() -> None:
    scratch = Scratch()
    shape = (MAX_KEPT_BYTES + 1,)
    assert scratch.array("a", shape, np.uint8) is not scratch.array("a", shape, np.uint8)
    assert scratch.array("a", (3,), np.uint8).base is not None
    assert scratch.array("a", (3,), np.uint8).base.size < 100  # type: ignore[union-attr]


def test_everybody_has_one_of_their_own() -> None:
    pool = ScratchPool()
    with pool.taken() as first:
        with pool.taken() as second:
            assert first is not second
        with pool.taken() as third:
            assert third is second
    barrier, seen = threading.Barrier(8), []

    def work() -> None:
        with pool.taken() as scratch:
            seen.append(id(scratch))
            barrier.wait(10)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == 8


def test_an_error_gives_it_back() -> None:
    pool = ScratchPool()
    with pytest.raises(KeyError), pool.taken() as first:
        raise KeyError
    with pool.taken() as second:
        assert second is first
