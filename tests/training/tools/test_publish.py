"""Shipping a run's weights with their card."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from training.checkpoint import WeightFacts, save_weights
from training.network import build
from training.recipe import Recipe, Stage
from training.tools import publish

RECIPE = Recipe("er-nano", (Stage(64, 2, 3),), images=48)
FACTS = WeightFacts(
    variant="er-nano",
    hand_model={"name": load_hand_models()[0].name, "sha256": load_hand_models()[0].sha256},
    dataset="SynthHands v1",
    synthetic=True,
    steps=3,
    samples=6,
    seed=0,
)


def test_card_and_weights(synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "TEST_IMAGES", 16)
    monkeypatch.setattr(publish, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(publish, "read_recipe", lambda _: RECIPE)
    (tmp_path / "shipped").mkdir()
    save_weights(tmp_path / "er-nano.safetensors", build("er-nano").state_dict(), FACTS)
    assert publish.main(["--recipe", "x", "--run-dir", str(tmp_path)]) == 0
    card = json.loads((tmp_path / "shipped" / "er-nano.json").read_text())
    assert card["training"]["steps"] == 3 and card["training"]["stages"] == [{"crop_px": 64, "batch": 2, "steps": 3}]
    assert card["accuracy"]["n_images"] == 16 and "synthetic" in card["accuracy"]["dataset"]
    assert card["share_of_mean_pose"] == pytest.approx(
        card["accuracy"]["mpjpe_mm"] / card["mean_pose_mpjpe_mm"], abs=1e-3
    )
    shipped = (tmp_path / "shipped" / "er-nano.safetensors").read_bytes()
    assert shipped == (tmp_path / "er-nano.safetensors").read_bytes()


def test_weights_of_another_hand_are_not_shipped(tmp_path: Path) -> None:
    path = tmp_path / "er-nano.safetensors"
    facts = replace(FACTS, hand_model={"name": "MANO", "sha256": "0" * 64})
    save_weights(path, build("er-nano").state_dict(), facts)
    with pytest.raises(UserError, match="another hand model"):
        publish.make_card(path, RECIPE)
