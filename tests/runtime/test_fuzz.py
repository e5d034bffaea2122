"""A short, repeatable run of every fuzzing target; FUZZ_INPUTS=10000 in the environment makes it a long one, anew."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from runtime.image.reading import quiet_opencv
from tests.fuzz_runtime import TARGETS, fuzz

INPUTS = int(os.environ.get("FUZZ_INPUTS", "0"))
MOST_MEMORY_BYTES = 6 * 2**30  # of address space: libraries and thread stacks reserve much that they never use


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_end_well(name: str, tmp_path: Path) -> None:
    quiet_opencv()
    inputs, seed = INPUTS or (100 if name == "hand models" else 200), int(time.time()) if INPUTS else None
    if INPUTS and sys.platform == "linux":  # alone in its process: a wild allocation is seen
        import resource  # Windows has none

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    ends = fuzz(TARGETS[name], inputs, tmp_path, seed)
    print(f"seed {seed}: {dict(ends)}")
    assert ends.total() >= 0.9 * inputs
    assert ends["results"] >= 1 and ends["errors"] >= 0.1 * inputs  # both ends are reached
