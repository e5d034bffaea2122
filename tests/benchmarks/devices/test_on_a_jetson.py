"""`benchmarks/run.py` where its target is the Jetson at hand: engines first, then the common path. The GPU is made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.records.record import FAILED, read_records
from benchmarks.run import main
from runtime.errors import UserError
from runtime.files import file_sha256
from tests.conftest import MakeModel
from tests.fixtures.engine_files import install, write_engine
from tests.fixtures.fake_gpu import FakeGpu


@pytest.fixture
def arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_model: MakeModel) -> list[str]:
    """Make the board the one that is named, and the engine of one file be built already."""
    install(monkeypatch, FakeGpu())
    source = make_model("er-s_64_fp16.onnx")
    engine = write_engine(tmp_path, onnx_sha256=file_sha256(source))
    monkeypatch.setattr("benchmarks.run.is_this_jetson", lambda target: target == "jetson-orin-nano")
    monkeypatch.setattr("benchmarks.run.prepare_engines", lambda paths, target: [engine] if paths == [source] else [])
    return ["--target", "jetson-orin-nano", "--model", str(source), "-o", str(tmp_path / "r.jsonl")]


def test_engines_take_the_place_of_their_files(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The made engine's numbers are no hands: parity on the shipped crops says so, and it is not timed."""
    with pytest.raises(UserError, match="--threads has no effect on engines"):
        main([*arguments, "--threads", "4"])
    assert main([*arguments, "--rounds", "1", "--seconds", "0.01"]) == 1
    rows = [row for row in read_records(Path(arguments[-1])) if row.kind == "artifact"]
    assert [row.name for row in rows] == ["er-s_64_fp16_trt10.3.0_sm87"]
    (row,) = rows
    assert row.build_s == 61.5 and row.runtime.threads is None and row.latency_ms is None
    assert row.verdict.status == FAILED and "mm from onnxruntime" in row.verdict.reasons[0]


PROGRAM = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "scipy", "numba", "matplotlib", "safetensors", "coremltools"):
            raise ImportError("blocked: " + name)

sys.meta_path.insert(0, Blocker())
import compress.tensorrt.__main__, benchmarks.run, benchmarks.measure.steps, benchmarks.devices.shipped_crops
print("imported")
"""


def test_a_jetson_needs_none_of_the_training_packages() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("imported\n", "")
