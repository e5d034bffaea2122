"""One process for long: equal pictures give equal hands at its start and its end, alone and in eight threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.measure.process_memory import status_mb
from benchmarks.tools.footprint_parts import pictures
from runtime.hand.hands import Hands
from runtime.runner import load

FRAMES, THREADS = 400, 8
BOXES = (
    *(None, (170.0, 90.0, 300.0, 300.0), (-40.0, 20.0, 180.0, 400.0)),
    *((600.0, 440.0, 30.0, 30.0), (5.5, 3.25, 64.0, 48.0)),
)


def bits(hands: Hands) -> bytes:
    """Every bit of the result but its times."""
    names = ("vertices", "joints", "joints_image", "joints_heatmap", "rotations", "shape", "camera", "presence")
    arrays: list[Any] = [getattr(hand, name) for hand in (hands.right, hands.left) for name in names]
    return b"".join(np.asarray(array).tobytes() for array in (hands.relative_translation, *arrays))


@pytest.mark.slow
def test_equal_pictures_give_equal_bits(tiny_model: Path) -> None:
    inputs = [(rgb, box) for rgb in pictures().values() for box in BOXES]
    turns = [number % len(inputs) for number in range(FRAMES)]
    with load(tiny_model, threads=1) as runner:
        first = [bits(runner(*given)) for given in inputs]
        assert len(set(first)) > len(inputs) / 2  # the pictures differ
        start_mb = status_mb("VmRSS")
        assert all(bits(runner(*inputs[turn])) == first[turn] for turn in turns)
        end_mb = status_mb("VmRSS")
        with ThreadPoolExecutor(THREADS) as pool:
            found = list(pool.map(lambda turn: bits(runner(*inputs[turn])), turns))
    assert all(found[place] == first[turn] for place, turn in enumerate(turns))
    assert start_mb is None or end_mb is None or end_mb - start_mb < 2
