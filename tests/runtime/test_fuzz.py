"""A short, repeatable run of every fuzzing target; `python -m tests.fuzz_runtime` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import UserError
from runtime.image.reading import quiet_opencv
from tests.fuzz_runtime import TARGETS, Target, fuzz, main

INPUTS = {"hand models": 100}  # slow ones
FEW = 300


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_end_well(name: str, tmp_path: Path) -> None:
    quiet_opencv()
    inputs = INPUTS.get(name, FEW)
    ends = fuzz(TARGETS[name], inputs, tmp_path)
    assert ends.tried >= 0.9 * inputs
    assert ends.results >= 0.02 * inputs and ends.errors >= 0.1 * inputs  # both ends are reached


@pytest.mark.parametrize(
    "error", [ValueError("x"), AssertionError(), MemoryError(), UserError("two\nlines"), UserError("")]
)
def test_another_end_is_seen(error: Exception, tmp_path: Path) -> None:
    def take(value: object, folder: Path) -> None:
        raise error

    with pytest.raises((type(error), AssertionError)):
        fuzz(Target(TARGETS["boxes"].inputs, take), 5, tmp_path)


@pytest.mark.slow
def test_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--inputs", "50", "--seed", "1", "--target", "boxes", "metadata"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "seed 1"
    assert [line.split(":")[0] for line in lines[1:]] == ["boxes", "metadata"]
