"""The whole procedure of a Jetson, the device itself made up: what is measured, what wins, what is doubted."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.devices.jetson.measure import Measured, Tools, measure_on_device
from benchmarks.devices.jetson.report import is_here, measure_jetson, print_report, report, run_on_jetson
from benchmarks.devices.jetson.setup import Plan, check_board, choose_files, engine_plans
from benchmarks.devices.jetson.verdict import doubts, winner
from benchmarks.devices.shipped_crops import shipped_crops
from benchmarks.records.record import parse_record
from runtime.backends.engine_passport import EnginePassport, engine_passport_text
from runtime.backends.opening import Outputs, open_backend
from runtime.errors import UserError
from tests.conftest import tiny_passport, write_tiny_model
from tests.fixtures.engine_files import made_passport
from tests.fixtures.jetson_tree import AGX_ORIN, ORIN_NANO, ORIN_NX, make_tree, write

SECONDS_A_FRAME = {"fp32": 4e-3, "fp16": 2e-3, "int8": 3e-3, "int8-weak": 1e-3, "fp16-weak": 2e-3}


@dataclass
class MadeEngine:
    """onnxruntime's outputs, a little moved, after a while."""

    label: str
    onnx: Path
    moved: float = 0.0
    provider: str = "TensorRT 10.3.0 on Orin (made)"
    device_memory_bytes: int | None = 7_000_000
    closed: list[str] = field(default_factory=list)
    free: list[int] = field(default_factory=lambda: [8_000_000_000])

    def __post_init__(self) -> None:
        self._backend = open_backend(self.onnx, "cpu", 1)
        self.free[0] -= 40_000_000

    def run_timed(self, image: np.ndarray) -> tuple[Outputs, float]:
        time.sleep(SECONDS_A_FRAME[self.label])
        outputs = self._backend.run(image)
        outputs["shape"] = outputs["shape"] + np.float32(self.moved)
        return outputs, 900 * SECONDS_A_FRAME[self.label]

    def free_bytes(self) -> int:
        return self.free[0]

    def close(self) -> None:
        self.closed.append(self.label)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    paths = []
    for precision, stem in (("fp32", "fp32"), ("fp16", "fp16"), ("int8", "int8-trt"), ("int8", "int8")):
        flavour = {"quantisation": {"flavour": "trt"}} if stem == "int8-trt" else {}
        facts = {"precision": precision, "opset": 17, "parameters_m": 1.0, "gmac": 0.1, **flavour}
        paths.append(write_tiny_model(folder / f"er-s_64_{stem}.onnx", passport=facts))
    return paths


class Device:
    """An Orin Nano's tools in a folder, and what they did."""

    def __init__(self, folder: Path, moved: dict[str, float] | None = None, weak: bool = True) -> None:
        self.built: list[str] = []
        self.closed: list[str] = []
        self.root = make_tree(folder / "root", ORIN_NANO, locked=True)
        free = [8_000_000_000]
        plans: dict[Path, Plan] = {}

        def build(plan: Plan, target: str, overwrite: bool) -> tuple[Path, EnginePassport]:
            assert target == "jetson-orin-nano"
            self.built.append(plan.label)
            path = folder / f"er-s_64_{plan.label}_trt10.3.0_sm87.engine"
            path.write_bytes(plan.label.encode())
            sha = hashlib.sha256(path.read_bytes()).hexdigest()
            layers = {plan.precision: 30, "fp32": 10}
            passport = made_passport(b"", precision=plan.precision, engine_sha256=sha, engine_layers=layers)
            model = tiny_passport() | {"opset": 17, "parameters_m": 1.0, "gmac": 0.1, "precision": plan.precision}
            path.with_suffix(".json").write_text(engine_passport_text(passport, model))
            plans[path] = plan
            return path, passport

        def open_engine(path: Path) -> MadeEngine:
            plan = plans[path]
            return MadeEngine(plan.label, plan.onnx, (moved or {}).get(plan.label, 0.0), closed=self.closed, free=free)

        self.tools = Tools(build, open_engine, lambda: weak, self.root, no_command, 0.03, 0.0, 0.15, 3)


def no_command(words: list[str]) -> str:
    """No nvpmodel here."""
    return ""


@pytest.fixture(scope="module", autouse=True)
def few_crops() -> Iterator[None]:
    """Six of the shipped crops are enough to see what is done with them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.devices.jetson.measure.shipped_crops", lambda crop_px: shipped_crops(crop_px)[:6])
        yield


def quiet(what: str) -> None:
    """Says nothing."""


@pytest.fixture(scope="module")
def measured(models: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Measured:
    return measure_on_device(models, "jetson-orin-nano", Device(tmp_path_factory.mktemp("nano")).tools, step=quiet)


def test_the_whole_procedure(models: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = Device(tmp_path)
    path, measured = run_on_jetson(models, "jetson-orin-nano", tmp_path / "out", here.tools)
    assert here.built == ["fp32", "fp16", "int8", "int8-weak"] and sorted(here.closed) == sorted(here.built)
    print_report(measured, path)
    said = capsys.readouterr().out
    assert "building fp16 from er-s_64_fp16.onnx" in said and "int8-weak wins" in said
    assert "left out: er-s_64_int8.onnx: int8 of flavour cpu" in said
    facts = json.loads(path.read_text())
    assert path.name == "jetson-orin-nano_er-s_64.json" and facts["winner"]["label"] == "int8-weak"
    assert facts["board"]["l4t"] == "36.4.3" and facts["power_mode"] == "25W" and facts["before"]["clocks"]["locked"]
    engine = facts["engines"]["fp16"]
    assert engine["parity_with_onnxruntime"]["mean_mm"] == 0 and engine["parity_passed"]
    assert engine["precision_shares"] == {"fp16": 0.75, "fp32": 0.25}
    memory = engine["memory"]
    assert memory == {
        "process_peak_mb": 524.288,
        "available_drop_mb": 0.0,
        "cuda_free_drop_mb": 40.0,
        "engine_device_mb": 7.0,
    }
    assert facts["engines"]["fp32"]["memory"]["cuda_free_drop_mb"] is None  # CUDA itself came with it
    assert engine["power_w"]["mean"] == pytest.approx(ORIN_NANO.watts)
    milliseconds = engine["end_to_end_ms"]["p50"]
    assert milliseconds > 2 and engine["device_ms"]["p50"] == pytest.approx(1.8)
    assert engine["energy_mj_per_frame"] == pytest.approx(ORIN_NANO.watts * milliseconds, rel=1e-6)
    for line in facts["records"]:
        record = parse_record(json.dumps(line))
        assert record.runtime.name == "TensorRT" and record.device.power_mode == "25W"
        assert record.protocol.rounds == 3 and record.power_w is not None
        assert (record.times_faster is None) == (record.artifact.precision == "fp32")


def test_exit_codes(models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Device(tmp_path, moved=dict.fromkeys(SECONDS_A_FRAME, 3.0))
    monkeypatch.setattr("benchmarks.devices.jetson.report.device_tools", lambda cuda_graph: here.tools)
    assert measure_jetson(models, "jetson-orin-nano", tmp_path / "out") == 1  # every engine is wrong
    assert is_here("jetson-orin-nano", here.root) and not is_here("raspberry-pi-5", here.root)
    assert not is_here("jetson-orin-nano", tmp_path / "pc")


def test_engines_run_in_turn(measured: Measured) -> None:
    assert [len(c.end_to_end_ms) for c in measured.candidates] == [3] * 4
    assert all(len(block) >= 3 for c in measured.candidates for block in c.end_to_end_ms)


def test_the_fastest_that_is_right_wins(measured: Measured) -> None:
    assert winner(measured).label == "int8-weak"
    parts = [
        replace(c, parity=replace(c.parity, mean_mm=9.0)) if c.plan.precision == "int8" else c
        for c in measured.candidates
    ]
    wrong = replace(measured, candidates=tuple(parts))
    assert winner(wrong).label == "fp16"
    assert sum("more than 2.0: do not use it" in doubt for doubt in doubts(wrong)) == 2
    nobody = replace(
        measured, candidates=tuple(replace(c, parity=replace(c.parity, mean_mm=float("nan"))) for c in parts)
    )
    assert winner(nobody).label is None and report(nobody, "2026")["status"] == "FAILED"
    alone = replace(measured, candidates=measured.candidates[:1])
    assert winner(alone).sentence == "fp32 is the only engine whose parity holds"


def test_equals_have_no_winner(measured: Measured) -> None:
    first = measured.candidates[0]
    blocks = tuple(np.array([1.0 + 0.01 * i]) for i in (0, 1, 2, 3))
    other = replace(first, plan=replace(first.plan, label="fp16"), end_to_end_ms=blocks[::-1])
    both = replace(measured, candidates=(replace(first, end_to_end_ms=blocks), other))
    assert winner(both).label is None and "cannot be told apart" in winner(both).sentence


def test_doubts(measured: Measured, tmp_path: Path) -> None:
    calm = replace(
        measured,
        candidates=tuple(
            replace(c, end_to_end_ms=(np.full(5, 2.0),) * 3, device_ms=(np.full(5, 1.9),) * 3)
            for c in measured.candidates
        ),
    )
    assert doubts(calm) == [] and report(calm, "2026")["status"] == "FINISHED"
    after = replace(calm.after, throttle_events=5, clocks={**calm.after.clocks, "locked": False})
    fast, slow = calm.candidates[0], calm.candidates[1]
    shaky = replace(fast, end_to_end_ms=tuple(np.full(5, t) for t in (2.0, 2.5, 2.0)))
    waiting = replace(slow, device_ms=(np.full(5, 0.5),) * 3)
    doubtful = replace(calm, after=after, power_mode=None, candidates=(shaky, waiting))
    found = "\n".join(doubts(doubtful))
    for reason in (
        "clocks were not locked: sudo jetson_clocks",
        "throttled 3 times",
        "power mode is unknown",
        "fp32: its blocks differ by",
        "fp16: the GPU computes in 25 % of the time",
    ):
        assert reason in found
    assert report(doubtful, "2026")["status"] == "DOUBTFUL"


def test_without_a_sensor_power_is_null_with_a_reason(models: list[Path], tmp_path: Path) -> None:
    here = Device(tmp_path, weak=False)
    for label in (tmp_path / "root").glob("sys/bus/i2c/devices/*/hwmon/*/in*_label"):
        label.unlink()
    measured = measure_on_device(models, "jetson-orin-nano", here.tools, step=quiet)
    assert here.built == ["fp32", "fp16", "int8"]
    facts = report(measured, "2026")
    assert facts["engines"]["int8"]["power_w"] is None and facts["engines"]["int8"]["energy_mj_per_frame"] is None
    assert facts["records"][0]["not_measured"]["power_w"] == "no INA3221 answers"


def test_a_run_that_is_cut_off_says_where(models: list[Path], tmp_path: Path) -> None:
    def fails(plan: Plan, target: str, overwrite: bool) -> Any:
        raise UserError("TensorRT cannot build the engine: out of memory")

    with pytest.raises(UserError):
        run_on_jetson(models, "jetson-orin-nano", tmp_path / "out", replace(Device(tmp_path).tools, build=fails))
    facts = json.loads((tmp_path / "out/jetson-orin-nano_er-s_64.json").read_text())
    assert facts["status"] == "PROFILING" and facts["stopped_while"].startswith("building fp32")


def test_a_wrong_engine_is_seen(models: list[Path], tmp_path: Path) -> None:
    """A shape of 3 everywhere is another hand, by millimetres."""
    measured = measure_on_device(models, "jetson-orin-nano", Device(tmp_path, moved={"fp16": 3.0}).tools, step=quiet)
    by_label = {c.plan.label: c for c in measured.candidates}
    assert not by_label["fp16"].passed and by_label["int8"].passed
    assert by_label["fp16"].lost is not None and by_label["fp16"].lost.mean_mm > 2


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "jetson-orin-nx",
            r"this board is jetson-orin-nano \(NVIDIA.*\), not jetson-orin-nx: give --target jetson-orin-nano",
        ),
        ("jetson-orin-nano@15W", "in power mode 25W, not 15W: sudo nvpmodel"),
        ("jetson-nano", "runs no TensorRT engines here: its last JetPack"),
        ("raspberry-pi-5", "runs no TensorRT engines here"),
        ("jetson-orin-nanoo", "did you mean jetson-orin-nano"),
        ("jetson-orin-nano@9W", "no power mode '9W'"),
    ],
)
def test_another_board_or_mode_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    root = make_tree(tmp_path, ORIN_NANO)
    with pytest.raises(UserError, match=reason):
        check_board(name, root, no_command)


def test_the_target_takes_the_mode_of_the_board(tmp_path: Path) -> None:
    for jetson, name, said in ((ORIN_NX, "jetson-orin-nx", "MAXN_SUPER"), (AGX_ORIN, "jetson-agx-orin", "MODE_15W")):
        root = make_tree(tmp_path / name, jetson)
        target, board, mode = check_board(name, root, lambda words, said=said: f"NV Power Mode: {said}\n0\n")
        assert target.power_mode is not None and target.power_mode.name == mode == said
        assert board.profile == name
    write(tmp_path / "pc", "proc/cpuinfo", "")
    with pytest.raises(UserError, match=r"this is no Jetson: run this command on the jetson-orin-nx itself"):
        check_board("jetson-orin-nx", tmp_path / "pc", no_command)


def test_files_are_chosen_by_their_passports(models: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "engine.engine"
    other.touch()
    files, left_out = choose_files([*models, other])
    assert {name: path.name for name, path in files.items()} == {
        "fp32": "er-s_64_fp32.onnx",
        "fp16": "er-s_64_fp16.onnx",
        "int8": "er-s_64_int8-trt.onnx",
    }
    assert set(left_out) == {"er-s_64_int8.onnx", "engine.engine"}
    with pytest.raises(UserError, match=r"no file to build engines from \(er-s_64_int8.onnx: int8 of flavour cpu"):
        choose_files([models[3]])
    with pytest.raises(UserError, match="are both fp32"):
        choose_files([models[0], models[0]])
    foreign = write_tiny_model(tmp_path / "er-m_64_fp16.onnx", passport={"precision": "fp16", "variant": "er-m"})
    with pytest.raises(UserError, match=r"several variants \(er-m, er-s\)"):
        choose_files([models[0], foreign])


def test_plans(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    labels = [plan.label for plan in engine_plans({"fp32": path, "int8": path}, weak=True)]
    assert labels == ["fp32", "int8", "fp16-weak", "int8-weak"]
    assert [plan.weak for plan in engine_plans({"fp32": path, "int8": path}, weak=True)] == [None, None, "fp16", "int8"]
    assert [plan.label for plan in engine_plans({"fp16": path}, weak=False)] == ["fp16"]
    with pytest.raises(UserError, match="only an fp32 file: export fp16"):
        engine_plans({"fp32": path}, weak=False)


PROGRAM = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "onnx", "scipy", "numba", "matplotlib", "safetensors", "coremltools"):
            raise ImportError("blocked: " + name)

sys.meta_path.insert(0, Blocker())
import compress.tensorrt.__main__, compress.tensorrt.engine_file, benchmarks.run
print("imported")
"""


def test_a_jetson_needs_none_of_the_training_packages() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("imported\n", "")
