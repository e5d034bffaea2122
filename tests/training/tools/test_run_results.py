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
    with pytest.raises(UserError, match="--method"):
        results.main([*run_of("add"), "--method", "../up"])


def test_weights_of_another_hand_are_not_shipped(run_of: Callable[..., list[str]]) -> None:
    with pytest.raises(UserError, match="trained on hand model 'MANO'"):
        results.main(run_of("ship", hand_model={"name": "MANO", "sha256": "0" * 64}))


@pytest.mark.parametrize(
    "arguments", [["add", "--recipe", "x"], ["baselines", "--method", "x"], ["--recipe", "x"], ["ship"]]
)
def test_mistakes(arguments: list[str]) -> None:
    with pytest.raises(UserError, match="ship and add need"):
        results.main(arguments)
