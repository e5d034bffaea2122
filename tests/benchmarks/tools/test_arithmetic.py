"""Agreement between CPUs, from made predictions, and the parts of the emulated system that need no emulator."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tools.arithmetic import __main__ as command
from benchmarks.tools.arithmetic import agreement, userland
from benchmarks.tools.arithmetic.agreement import Agreement, compare
from benchmarks.tools.arithmetic.cpus import CPUS, DEFAULT_CPU, get_cpu
from benchmarks.tools.arithmetic.passport import add_to_passport, facts_of
from benchmarks.tools.arithmetic.userland import Unavailable, Userland, debian_mirror
from runtime.errors import UserError

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
    assert made.passed is passed
    assert made.figures()["passed"] is passed and made.figures()["same_hands"] is True
    assert not replace(made, vertex_median_mm=0.051).same_hands
    assert made.figures()["mpjpe_difference_mm"] == pytest.approx(made.mpjpe_there_mm - 21.0, nan_ok=True)


def found(vertices: np.ndarray, present: np.ndarray) -> dict[str, np.ndarray]:
    n = len(vertices)
    return {
        "vertices": vertices,
        "joints": np.zeros((n, 2, 21, 3)),
        "relative_translation": np.zeros((n, 3)),
        "present": present,
    }


class TwoFrames:
    synthetic = True

    def __len__(self) -> int:
        return 2


def test_distances_are_of_hands_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "_mpjpe_mm", lambda *_: 20.0)
    monkeypatch.setattr(agreement, "dataset_label", lambda _: "made (synthetic)")
    present = np.array([[True, False], [True, True]])
    here = found(np.zeros((2, 2, 778, 3)), present)
    moved = here["vertices"].copy()
    moved[0, 0, :, 0] = 1e-4  # 0.1 mm
    moved[0, 1] = 1.0  # of a hand that nobody sees
    there = found(moved, present)
    result = compare(Path("m.onnx"), "cortex-a76", TwoFrames(), 224, here, there)  # type: ignore[arg-type]
    assert result.vertex_max_mm == pytest.approx(0.1)
    assert result.vertex_median_mm == pytest.approx(0.05)
    assert (result.images_beyond_limit, result.presence_changes) == (1, 0)
    seen = found(moved, np.array([[True, True], [True, True]]))
    assert compare(Path("m.onnx"), "x", TwoFrames(), 224, here, seen).presence_changes == 1  # type: ignore[arg-type]
    nobody = np.zeros((2, 2), bool)
    with pytest.raises(UserError, match="finds no hand"):
        compare(Path("m.onnx"), "x", TwoFrames(), 224, found(moved, nobody), found(moved, nobody))  # type: ignore[arg-type]


def test_commands() -> None:
    system = Userland(Path("/cache"))
    arm, intel = get_cpu(DEFAULT_CPU), get_cpu("haswell")
    words = system.command(arm, ["-m", "x"])
    assert words[:3] == ["/cache/qemu-aarch64", "-cpu", "cortex-a76"] and words[-2:] == ["-m", "x"]
    assert system.environment(arm)["PYTHONPATH"] == "/cache/wheels"
    assert system.command(intel, ["-m", "x"])[-3:] == [sys.executable, "-m", "x"]
    with pytest.raises(UserError, match="did you mean cortex-a76"):
        get_cpu("cortex-a75")
    assert {cpu.architecture for cpu in CPUS.values()} == {"aarch64", "x86_64"}


@pytest.mark.parametrize(
    "text",
    [
        "deb http://mirror.test/debian bookworm main\n",
        "# deb http://other.test/debian\ndeb [signed-by=/k.gpg] http://mirror.test/debian bookworm main\n",
        "Types: deb\nURIs: http://mirror.test/debian\nSuites: bookworm\n",
        "URIs: http://sec.test/debian-security\nURIs: http://mirror.test/debian/\n",
    ],
)
def test_the_systems_own_mirror(tmp_path: Path, text: str) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "debian.sources").write_text(text)
    assert debian_mirror(tmp_path) == "http://mirror.test/debian"


def test_no_mirror(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="names no mirror"):
        debian_mirror(tmp_path)


def test_it_is_skipped_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(userland.shutil, "which", lambda _: None)
    assert command.main(["--tests"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("skipped: ") and said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "give model files"), (["x.onnx", "--crops", "0"], "--crops is from 1"), (["--cpus", "z"], "unknown CPU")],
)
def test_mistakes(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        command.main(arguments)


def test_the_passport_carries_the_figures(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1,))
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, (1,))
    ])  # fmt: skip
    model = helper.make_model(graph)
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    with pytest.raises(UserError, match="has no passport"):
        add_to_passport(path, [MADE])
    model.metadata_props.add(key="er_edge", value=json.dumps({"variant": "er-xs"}))
    onnx.save(model, path)
    add_to_passport(path, [MADE])
    beside = json.loads(path.with_suffix(".json").read_text())
    inside = json.loads({p.key: p.value for p in onnx.load(path).metadata_props}["er_edge"])
    assert beside["arithmetic"] == inside["arithmetic"] == json.loads(json.dumps(facts_of([MADE])))
    assert beside["variant"] == "er-xs" and beside["bytes"] == path.stat().st_size
