"""Long runs and many threads give the same bits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.tools.soak import fingerprint, main, soak
from runtime.errors import UserError
from runtime.hand.hands import Hands
from runtime.runner import Runner, load


@pytest.fixture(scope="module")
def runner(tiny_model: Path) -> Runner:
    return load(tiny_model, threads=1)


def test_equal_pictures_give_equal_bits(runner: Runner) -> None:
    soaked = soak(runner, 400)
    assert soaked.passed and soaked.frames == 400 and soaked.threads == 8
    assert soaked.threaded_frames >= 8 * soaked.inputs > 8 * 15
    assert soaked.resident_mb["end"] is None or soaked.resident_mb["end"] - soaked.resident_mb["start"] < 2  # type: ignore[operator]


def test_a_memory_of_the_last_frame_is_seen(runner: Runner) -> None:
    """A runner whose results drift by one bit."""

    class Drifting(Runner):
        def __init__(self) -> None:
            self.count = 0

        def __call__(self, rgb: NDArray[Any], box: Any = None) -> Hands:
            hands = runner(rgb, box)
            self.count += 1
            if self.count <= 200:
                return hands
            shape = np.nextafter(hands.left.shape, np.float32(1))
            return replace(hands, left=replace(hands.left, shape=shape))

    soaked = soak(Drifting(), 300)
    assert not soaked.passed and soaked.changed and soaked.changed_in_threads


def test_every_bit_counts(runner: Runner) -> None:
    hands = runner(np.zeros((64, 64, 3), np.uint8))
    assert fingerprint(hands) == fingerprint(runner(np.zeros((64, 64, 3), np.uint8)))
    other = replace(hands, relative_translation=np.nextafter(hands.relative_translation, np.float32(1)))
    assert fingerprint(hands) != fingerprint(other)


def test_the_command(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "soak.json"
    assert main(["--model", str(tiny_model), "--frames", "100", "--threads", "1", "-o", str(output)]) == 0
    assert json.loads(output.read_text()) == json.loads(capsys.readouterr().out)
    assert json.loads(output.read_text())["passed"] is True
    with pytest.raises(UserError):
        main(["--model", str(tiny_model), "--frames", "0"])
