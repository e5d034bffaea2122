"""The report of what training bought."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import UserError
from training.tools import run_results as results

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
    assert "`er-xs` distilled (all terms) at least 5% better than by labels alone" in text
    assert "with 1,000 samples: 7.0%, met." in text


def test_losses_of_int8_are_against_the_weights_it_began_with() -> None:
    rounded = record("er-xs", "qat", 30.04)
    rounded["training"]["qat"] = {"steps": 10}
    worse = record("er-s", "qat", 20.3)
    worse["training"]["qat"] = {"steps": 10}
    text = results.write_report([rounded | {"float_mpjpe_mm": 30.0}, worse | {"float_mpjpe_mm": 20.0}], BASELINES)
    assert "its float weights' 30.00 mm: +0.04 mm, met." in text
    assert "its float weights' 20.00 mm: +0.30 mm, missed." in text


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
