"""Rows of a run's log."""

from __future__ import annotations

import csv
from pathlib import Path

from training.run.run_log import RunLog, draw_curves


def test_rows_are_means_and_survive_a_checkpoint(tmp_path: Path) -> None:
    log = RunLog()
    log.close_row({"step": 0})  # there was no step
    for loss in (1.0, 2.0):
        log.add({"loss": loss, "images": 8, "seconds": 0.5, "waiting": 0.1})
    resumed = RunLog()
    resumed.load(log.state())
    resumed.add({"loss": 6.0, "images": 8, "seconds": 1.0, "waiting": 0.0})
    resumed.close_row({"step": 3, "samples": 24, "crop_px": 64, "learning_rate": 0.1})
    assert resumed.rows == [{
        "step": 3, "samples": 24, "crop_px": 64, "learning_rate": 0.1,
        "loss": 3.0, "images_per_s": 12.0, "waiting_pct": 10.0,
    }]  # fmt: skip
    resumed.rows[-1] |= {"val_mpjpe_mm": 30.0, "dataset": "a set"}
    resumed.add({"loss": 4.0, "distilled": 1.0, "images": 8, "seconds": 1.0, "waiting": 0.0})
    resumed.close_row({"step": 4, "samples": 32, "crop_px": 128, "learning_rate": 0.1})
    resumed.write(tmp_path / "log.csv")
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [row["loss"] for row in rows] == ["3", "4"]
    assert rows[0]["distilled"] == "" and rows[1]["distilled"] == "1" and rows[1]["val_mpjpe_mm"] == ""
    draw_curves(resumed.rows, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 5000
