"""Which file to run, and the cause that is named where one is not faster."""

from __future__ import annotations

import re

import pytest

from compress.artefact import PASSED, Artefact, Verdict
from compress.check import advice
from compress.check.timing import Ratio

FP32 = Artefact("onnx", "fp32", "fp32")


@pytest.mark.parametrize(
    ("label", "ratio", "wanted"),
    [
        ("int8", Ratio(1.9, 1.8, 2.0, 12), r"^int8 on this machine: 1\.90 times .* \(1\.80 to 2\.00\), \+0\.10 mm$"),
        ("int8", Ratio(1.04, 0.95, 1.1, 12), r"^fp32 on this machine: int8 has 1\.04 .* within the noise; "),
        ("int8", Ratio(0.8, 0.7, 0.9, 12), r"^fp32 on this machine: int8 has 0\.80 .*attention .* in float"),
        ("fp16", Ratio(0.9, 0.8, 0.95, 12), r"in fp32 on CPUs"),
        ("w8", Ratio(1.0, 0.9, 1.05, 12), r"smaller, not faster"),
        ("int8-trt", None, "no other file was timed"),
    ],
)
def test_advice(label: str, ratio: Ratio | None, wanted: str) -> None:
    other = Artefact("onnx", label, label, lost_mm=0.1, ratio=ratio, verdict=Verdict(PASSED))
    assert re.search(wanted, advice.advise([FP32, other]))


@pytest.mark.parametrize(("status", "wanted"), [(PASSED, r"^int8 \(litert\) .*: 2\.50 times"), ("failed", r"^int8 on")])
def test_every_file_that_passed_is_weighed(status: str, wanted: str) -> None:
    made = [("onnx", 1.9, PASSED), ("litert", 2.5, status)]
    others = [
        Artefact(name, "int8", "int8", lost_mm=0.1, ratio=Ratio(times, 1.8, 2.6, 12), verdict=Verdict(verdict))
        for name, times, verdict in made
    ]
    assert re.search(wanted, advice.advise([FP32, *others]))


def test_the_cpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    int8 = Artefact("onnx", "int8", "int8")
    monkeypatch.setattr(advice, "cpu_flags", lambda: frozenset({"avx2"}))
    assert "no int8 dot products" in advice.explain(int8)
    monkeypatch.setattr(advice, "cpu_flags", lambda: frozenset({"avx512_vnni", "asimddp"}))
    assert "dot products" not in advice.explain(int8)
