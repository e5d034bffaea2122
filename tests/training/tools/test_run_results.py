"""The report of what training bought."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from training.checkpoint import WeightFacts, save_weights
from training.network import build
from training.tools import run_results as results


def record(variant: str, method: str, mpjpe_mm: float, teacher: str | None = None, seed: int = 0) -> dict[str, Any]:
    training = {"samples": 1000, "seed": seed, "hardware": "a CPU", "teacher": teacher and {"name": teacher}}
    accuracy = {"dataset": "A set (synthetic)", "n_images": 10, "mpjpe_mm": mpjpe_mm, "mpvpe_mm": 1.0, "mrrpe_mm": 2.0}
    made = {"variant": variant, "method": method, "training": training, "accuracy": accuracy}
    return {**made, "mean_pose_mpjpe_mm": 40.0}


def test_means_spreads_gains_and_losses() -> None:
    records = [
        record("er-s", "scratch", 20.0),
        record("er-xs", "scratch", 30.0),
        record("er-xs", "scratch", 32.0, seed=1),
        record("er-xs", "all terms", 27.9, teacher="er-s"),
    ]
    text = results.write_report(records)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    table = {(row[0], row[1]): row for row in rows}
    assert table["`er-xs`", "scratch"][3:7] == ["2", "1,000", "31.00", "2.00"]
    assert table["`er-xs`", "all terms"][5:10] == ["27.90", "one seed", "1.00", "2.00", "1.40"]
    assert table["`er-xs`", "all terms"][10] == "-10.0% to labels alone"
    assert table["-", "the mean pose"][5] == "40.00"


def test_the_committed_report_is_current() -> None:
    assert results.write_report(results.read_records()) == results.REPORT.read_text(encoding="utf-8")


FACTS = WeightFacts(
    variant="er-nano",
    hand_model={"name": load_hand_models()[0].name, "sha256": load_hand_models()[0].sha256},
    dataset="SynthHands v1",
    synthetic=True,
    steps=3,
    samples=6,
    seed=0,
    hardware="a GPU far away",
)


@pytest.fixture
def run_of(synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Arguments for a made run, measured on a few images; what is written stays in tmp_path."""
    monkeypatch.setattr(results, "TEST_IMAGES", 16)
    monkeypatch.setattr(results, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(results, "RECORDS", tmp_path / "records")
    for folder in ("shipped", "records"):
        (tmp_path / folder).mkdir()
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('variant = "er-nano"\nimages = 48\n[[stages]]\ncrop_px = 64\nbatch = 2\nsteps = 3\n')

    def make(do: str, **changes: Any) -> list[str]:
        save_weights(tmp_path / "er-nano.safetensors", build("er-nano").state_dict(), replace(FACTS, **changes))
        return [do, "--recipe", str(recipe), "--run-dir", str(tmp_path)]

    return make


def test_weights_are_shipped_with_their_card(run_of: Callable[..., list[str]], tmp_path: Path) -> None:
    assert results.main(run_of("ship")) == 0
    card = json.loads((tmp_path / "shipped" / "er-nano.json").read_text())
    assert card["training"]["steps"] == 3 and card["training"]["stages"] == [{"crop_px": 64, "batch": 2, "steps": 3}]
    assert card["training"]["hardware"] == "a GPU far away"
    assert card["accuracy"]["n_images"] == 16 and "synthetic" in card["accuracy"]["dataset"]
    share = card["accuracy"]["mpjpe_mm"] / card["mean_pose_mpjpe_mm"]
    assert card["share_of_mean_pose"] == pytest.approx(share, abs=1e-3)
    shipped = (tmp_path / "shipped" / "er-nano.safetensors").read_bytes()
    assert shipped == (tmp_path / "er-nano.safetensors").read_bytes()


def test_a_runs_record(run_of: Callable[..., list[str]], tmp_path: Path) -> None:
    assert results.main([*run_of("add"), "--method", "scratch, slowly"]) == 0
    kept = json.loads((tmp_path / "records" / "er-nano_scratch-slowly_6_seed0.json").read_text())
    assert kept["method"] == "scratch, slowly" and kept["variant"] == "er-nano"


def test_mistakes() -> None:
    for arguments in (["add", "--recipe", "x"], ["--recipe", "x"], ["ship"]):
        with pytest.raises(UserError, match="ship and add need"):
            results.main(arguments)
