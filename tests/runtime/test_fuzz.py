"""A short, repeatable run of every fuzzing target; `python -m tests.fuzz_runtime` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.image.reading import quiet_opencv
from tests.fuzz_runtime import TARGETS, fuzz


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_end_well(name: str, tmp_path: Path) -> None:
    quiet_opencv()
    inputs = 100 if name == "hand models" else 200
    ends = fuzz(TARGETS[name], inputs, tmp_path)
    assert ends.total() >= 0.9 * inputs
    assert ends["results"] >= 1 and ends["errors"] >= 0.1 * inputs  # both ends are reached
