"""An engine file against the ONNX file it names; distances are tested in tests/compress/check/test_mesh_distance.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.devices.shipped_crops import parity_problem, shipped_distance_mm
from runtime.files import file_sha256
from tests.conftest import MakeModel
from tests.fixtures.engine_files import install, write_engine
from tests.fixtures.fake_gpu import FakeGpu


def test_an_engine_file_and_the_onnx_file_it_names(
    tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, FakeGpu())
    source = make_model("er-s_64_fp16.onnx")
    mean_mm = shipped_distance_mm(write_engine(tmp_path, onnx_sha256=file_sha256(source)))
    assert parity_problem("fp16", mean_mm)  # the made engine's numbers are no hands


@pytest.mark.parametrize(("mean_mm", "fits"), [(0.1, True), (0.21, False), (float("nan"), False)])
def test_what_differs_too_much_or_is_no_number_fails(mean_mm: float, fits: bool) -> None:
    reason = parity_problem("fp32", mean_mm)
    assert reason is None if fits else reason and reason.endswith("more than 0.2: do not use it")
