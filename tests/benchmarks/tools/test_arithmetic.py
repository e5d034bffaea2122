"""Agreement between CPUs, from made predictions, and what needs no emulator."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tools.arithmetic import __main__ as command
from benchmarks.tools.arithmetic.agreement import Agreement, compare
from benchmarks.tools.arithmetic.emulator import CPUS, MAKE, System, Unavailable
from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from training.data.dataset import open_frames

MADE = Agreement("cortex-a76", 200, "made (synthetic)", 21.0, 21.02, 0.01, 0.02, 1.5, 3, 0)


@pytest.mark.parametrize(
    ("change", "passed"),
    [
        ({}, True),
        ({"mpjpe_there_mm": 21.049}, True),
        ({"mpjpe_there_mm": 21.051}, False),
        ({"mpjpe_there_mm": 20.94}, False),
        ({"vertex_max_mm": 40.0, "images_beyond_limit": 20}, True),  # single images, as roundings go the other way
        ({"mpjpe_there_mm": float("nan")}, False),
    ],
)
def test_what_agrees(change: dict[str, float], passed: bool) -> None:
    made = replace(MADE, **change)
    assert made.figures["passed"] is made.passed is passed and made.figures["same_hands"] is True
    assert made.sentence.startswith("passed" if passed else "FAILED") and "(synthetic)" in made.sentence
    assert not replace(made, vertex_median_mm=0.051).same_hands


def found(vertices: np.ndarray, present: list[list[bool]]) -> dict[str, np.ndarray]:
    n = len(vertices)
    return {
        "vertices": vertices,
        "joints": np.random.default_rng(0).normal(size=(n, 2, 21, 3)),
        "relative_translation": np.zeros((n, 3)),
        "present": np.array(present),
    }


def test_distances_are_of_hands_that_are_there(synthetic_cache: Path) -> None:
    frames = open_frames("synthetic", "test", load_hand_models(), 2)
    here = found(np.zeros((2, 2, 778, 3)), [[True, False], [True, True]])
    moved = np.zeros((2, 2, 778, 3))
    moved[0, 0, :, 0] = 1e-4  # 0.1 mm
    moved[0, 1] = 1.0  # of a hand that nobody sees
    result = compare("cortex-a76", frames, 224, here, found(moved, [[True, False], [True, True]]))
    assert (result.vertex_max_mm, result.vertex_median_mm) == (pytest.approx(0.1), pytest.approx(0.05))
    assert (result.images_beyond_limit, result.presence_changes) == (1, 0)
    assert result.mpjpe_difference_mm == 0 or np.isnan(result.mpjpe_difference_mm)
    assert compare("x", frames, 224, here, found(moved, [[True, True], [True, True]])).presence_changes == 1
    nobody = found(moved, [[False, False], [False, False]])
    with pytest.raises(UserError, match="no hand is found"):
        compare("x", frames, 224, nobody, nobody)


def test_commands() -> None:
    system = System(Path("/cache"))
    words = system.command(CPUS["cortex-a76"], ["-m", "x"])
    assert words == ["/cache/qemu-aarch64", "-cpu", "cortex-a76", "-L", "/cache/system", "/cache/python", "-m", "x"]
    assert system.command(CPUS["haswell"], ["-m", "x"])[-3:] == [sys.executable, "-m", "x"]


def test_it_is_skipped_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def unavailable() -> System:
        raise Unavailable("there is no apt-get here")

    monkeypatch.setattr(command, "ensure_system", unavailable)
    assert command.main(["--tests"]) == 0
    assert capsys.readouterr().out == "skipped: there is no apt-get here\n"


def test_the_script_says_what_is_missing(tmp_path: Path) -> None:
    for name in ("bash", "uname"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    words = ["bash", str(MAKE), str(tmp_path / "made"), "constraints.txt", sys.executable]
    done = subprocess.run(words, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and ("there is no apt-get" in done.stderr or "is set up for Linux" in done.stderr)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give model files"),
        (["x.onnx", "--crops", "0"], "--crops is from 1"),
        (["--cpus", "cortex-a75"], "did you mean cortex-a76"),
    ],
)
def test_mistakes(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        command.main(arguments)
