"""What an export says at its end."""

from __future__ import annotations

from typing import Any

import pytest

from compress.artefact import PASSED
from compress.export_report import fastest_file


@pytest.mark.parametrize(
    ("status", "median_ms", "fastest"),
    [(PASSED, 0.5, "a_int8.tflite"), (PASSED, 1.5, "a_int8.onnx"), ("accuracy_failed", 0.5, "a_int8.onnx")],
)
def test_the_next_command_runs_the_fastest_file_that_passed(status: str, median_ms: float, fastest: str) -> None:
    files = {"a_fp32": {"latency_ms": {"median": 2.0}}, "a_int8": {"latency_ms": {"median": 1.0}}}
    not_timed: dict[str, Any] = {"status": PASSED, "file": "a_int8.mlpackage"}
    litert = {"status": status, "file": "a_int8.tflite", "latency_ms": {"median": median_ms}}
    formats = {"onnx": {"status": PASSED}, "coreml": not_timed, "litert": litert}
    assert fastest_file({"files": files, "formats": formats}) == fastest
