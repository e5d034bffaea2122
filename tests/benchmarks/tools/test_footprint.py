"""The runtime's footprint, held to the committed figures. Time is held as a ratio only: machines differ."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.tools import footprint
from benchmarks.tools.footprint import AIMS, IMAGE_BYTES, ask, main
from runtime.errors import UserError

ROOT = Path(__file__).parents[3]
REFERENCE: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / "footprint.json").read_text())
MODEL = "er-xs_224_int8"
TOLERANCE_MB = 3.0
ALLOCATION_TOLERANCE = 1.25
GROWTH_FRAMES = 1500


def runtime_share_mb(told: dict[str, Any]) -> float:
    """What the runtime itself takes: its modules, hand models and buffers, without libraries and network."""
    return float(told["parts_mb"]["runtime"] + told["parts_mb"]["frames"])


def test_the_reference_is_of_the_runtime_as_it_should_be() -> None:
    figures = REFERENCE["models"][MODEL]
    assert re.search(r"benchmarks/footprint\.py --model \S+/er-xs_224_int8\.onnx", REFERENCE["command"])
    assert figures["memory"]["frames"] == 20_000
    for aim in AIMS:
        (told,) = [row for row in figures["aims"] if row["name"] == aim.name]
        assert told["figure"] == aim.figure(figures) and told["most"] == aim.most
        assert told["met"] is (told["figure"] <= aim.most)
    missed = {row["name"] for row in figures["aims"] if not row["met"]}
    assert missed <= {"pre_and_post_of_the_frame"}  # so fast a network leaves little else


def test_memory_of_the_runtime(tiny_model: Path) -> None:
    told = ask("memory", tiny_model, GROWTH_FRAMES)
    assert told["growth_mb"] < 1
    assert runtime_share_mb(told) < runtime_share_mb(REFERENCE["models"][MODEL]["memory"]) + TOLERANCE_MB
    assert sum(told["parts_mb"].values()) == pytest.approx(told["after_100_frames_mb"])


def test_a_frame_allocates_no_image(tiny_model: Path) -> None:
    """Whatever the picture's size and kind: what is allocated is smaller than the smallest of them, and as ever."""
    most = max(REFERENCE["models"][MODEL]["allocations"]["peak_bytes"].values())
    peaks = ask("allocations", tiny_model, 5)["peak_bytes"]
    assert set(peaks) == set(REFERENCE["models"][MODEL]["allocations"]["peak_bytes"])
    assert max(peaks.values()) < ALLOCATION_TOLERANCE * most < IMAGE_BYTES


@pytest.mark.slow
def test_the_command(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for name, less in (("STARTS", 2), ("STAGE_FRAMES", 20), ("ALLOCATION_FRAMES", 2)):
        monkeypatch.setattr(footprint, name, less)
    output = tmp_path / "footprint.json"
    assert main(["--model", str(tiny_model), "--frames", "50", "-o", str(output)]) == 0
    report = json.loads(output.read_text())
    assert set(report) == set(REFERENCE)
    assert set(report["models"]["tiny"]) == set(REFERENCE["models"][MODEL])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(AIMS) and all(line.startswith("tiny  ") for line in lines)
    assert any(line.endswith("MISSED") for line in lines)  # the tiny network takes no time


@pytest.mark.parametrize("arguments", [["--model", "none.onnx"], ["--frames", "3"]])
def test_mistakes(arguments: list[str]) -> None:
    with pytest.raises(UserError):
        main(arguments)


def test_a_model_that_does_not_load(tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(UserError, match="cannot measure"):
        ask("start", path)
