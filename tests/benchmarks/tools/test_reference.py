"""The committed reference, and what counts as a deviation from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.tools.reference import Expected, Reference, Tolerances, deviations, read_reference, shipped
from runtime.errors import UserError

FILE = Expected(1_000_000, 20.0, 1.8)
REFERENCE = Reference("made (synthetic)", "made", Tolerances(2.0, 0.15, 0.6), {"a": FILE})


@pytest.mark.parametrize(
    ("change", "timed", "message"),
    [
        ({}, True, None),
        ({"bytes": 1_019_000, "mpjpe_mm": 20.14, "times_faster": 1.09}, True, None),
        ({"bytes": 1_021_000}, True, "a: 1021000 bytes, expected 1000000 within 2.0 %"),
        ({"bytes": 979_000}, True, "979000 bytes"),
        ({"mpjpe_mm": 20.16}, True, "20.16 mm MPJPE, expected 20.0 within 0.15"),
        ({"mpjpe_mm": 19.84}, True, "19.84 mm"),
        ({"mpjpe_mm": float("nan")}, True, "nan mm"),
        ({"times_faster": 1.07}, True, "1.07 times the speed of fp32, at least 1.08"),
        ({"times_faster": None}, True, "None times"),
        ({"times_faster": 1.07}, False, None),
    ],
)
def test_deviations(change: dict[str, float], timed: bool, message: str | None) -> None:
    lines = deviations(REFERENCE, {"a": replace(FILE, **change)}, timed)
    assert len(lines) == (message is not None)
    assert message is None or message in lines[0]


def test_files_that_come_and_go() -> None:
    assert deviations(REFERENCE, {"b": FILE}, True) == ["a: is not exported any more", "b: has no reference"]


def test_the_committed_one_covers_what_is_shipped() -> None:
    reference = read_reference()
    assert "(synthetic)" in reference.dataset
    for variant in shipped():
        labels = {name.rsplit("_", 1)[1] for name in reference.files if name.startswith(f"{variant}_")}
        assert labels == {"fp32", "fp16", "int8", "int8-trt", "w8"}
    int8 = {name: facts for name, facts in reference.files.items() if name.endswith("_int8")}
    assert all(facts.times_faster and facts.times_faster > 1 for facts in int8.values())


@pytest.mark.parametrize("text", ["", "[]", '{"dataset": 1}', "{"])
def test_a_damaged_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "reference.json"
    path.write_text(text)
    with pytest.raises(UserError, match="is no reference"):
        read_reference(path)
