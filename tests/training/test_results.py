"""The report of what training bought."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import UserError
from training import results

BASELINES = {"dataset": "A set (synthetic)", "n_images": 10, "mean_pose_mpjpe_mm": 40.0, "previous_pose_mpjpe_mm": 60.0}


def record(variant: str, method: str, mpjpe_mm: float, teacher: str | None = None, seed: int = 0) -> dict[str, Any]:
    training = {"samples": 1000, "seed": seed, "hardware": "a CPU", "teacher": teacher and {"name": teacher}}
    accuracy = {"mpjpe_mm": mpjpe_mm, "mpvpe_mm": 1.0, "mrrpe_mm": 2.0}
    return {"variant": variant, "method": method, "training": training, "accuracy": accuracy}


def test_means_spreads_gains_and_aims() -> None:
    records = [
        record("er-s", "scratch", 20.0),
        record("er-xs", "scratch", 30.0),
        record("er-xs", "scratch", 32.0, seed=1),
        record("er-xs", "all terms", 27.9, teacher="er-s"),
        record("er-nano", "all terms", 50.0, teacher="er-xs"),
    ]
    text = results.write_report(records, BASELINES)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    table = {(row[0], row[1]): row for row in rows}
    assert table["`er-xs`", "scratch"][3:7] == ["2", "1,000", "31.00", "2.00"]
    assert table["`er-xs`", "all terms"][5:] == ["27.90", "one seed", "1.00", "2.00", "-10.0%"]
    assert table["-", "the mean pose"][5] == "40.00"
    assert "`er-xs` within 1.35 times its teacher `er-s`: 1.40, missed." in text
    assert "`er-nano` within 1.6 times its teacher `er-xs`: 1.79, missed." in text
    assert "`er-s` within 1.15 times its teacher: not measured" in text


def test_the_committed_report_is_current() -> None:
    assert results.main(["--check"]) == 0


def test_records_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no baselines\.json"):
        results.read_records(tmp_path)
    (tmp_path / "baselines.json").write_text(json.dumps(BASELINES))
    (tmp_path / "er-xs.json").write_text("{")
    with pytest.raises(UserError, match="cannot read the records"):
        results.read_records(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "--recipe", "x"], "add needs"),
        (["baselines", "--method", "x"], "no effect"),
        (["add", "--recipe", "x", "--run-dir", "y", "--method", "../up"], "--method"),
    ],
)
def test_mistakes(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        results.main(arguments)
