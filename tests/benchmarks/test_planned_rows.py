"""Lower bounds on devices that are not at hand, against numbers worked by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.candidates.planned_rows import lower_bound
from benchmarks.records.record import Artifact, Prediction
from targets import Figure, read_target

PEAKS = {"fp32_gflops": Figure(10.0, "a"), "int8_gops": Figure(40.0, "b"), "memory_gb_s": Figure(1.0, "c")}
TARGET = replace(read_target("raspberry-pi-5"), figures=PEAKS)


@pytest.mark.parametrize(
    ("precision", "size_bytes", "least_ms", "source"),
    [("int8", 1_000_000, 10.0, "b"), ("fp16", 1_000_000, 40.0, "a"), ("int8", 100_000_000, 100.0, "b")],
)
def test_the_longer_of_products_and_memory(precision: str, size_bytes: int, least_ms: float, source: str) -> None:
    found = lower_bound(TARGET, Artifact(precision=precision, bytes=size_bytes, gmac=0.2))
    assert found == Prediction("raspberry-pi-5", pytest.approx(least_ms), [source, "c"])


def test_nothing_is_guessed() -> None:
    assert lower_bound(replace(TARGET, figures={}), Artifact(bytes=5, gmac=0.2)) is None
    assert lower_bound(TARGET, Artifact(bytes=5)) is None
