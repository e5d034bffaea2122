"""The shipped weights and their cards."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from safetensors.torch import save_file

from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from training.checkpoint import SHIPPED, load_network, read_facts, shipped_weights, weights_of

WEIGHTS = sorted(SHIPPED.glob("*.safetensors"))
HANDS = load_hand_models()


def card_of(path: Path) -> dict:
    return json.loads(path.with_suffix(".json").read_text())


@pytest.mark.parametrize("path", WEIGHTS, ids=lambda path: path.stem)
def test_card_and_file_belong_together(path: Path) -> None:
    card, facts = card_of(path), read_facts(path)
    assert shipped_weights(path.stem) == weights_of(path.stem) == path
    assert card["weights_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert card["hand_model"] == facts.hand_model == {"name": HANDS[0].name, "sha256": HANDS[0].sha256}
    training = card["training"]
    assert (training["steps"], training["samples"], training["seed"]) == (facts.steps, facts.samples, facts.seed)
    assert training["synthetic"] is facts.synthetic is True
    assert "synthetic" in card["accuracy"]["dataset"]
    assert card["accuracy"]["n_images"] >= 1000
    load_network(path, path.stem)


@pytest.mark.parametrize(("variant", "share"), [("er-xs", 0.68), ("er-s", 0.69)])
def test_clearly_better_than_the_mean_pose(variant: str, share: float) -> None:
    card = card_of(weights_of(variant))
    assert card["accuracy"]["mpjpe_mm"] <= share * card["mean_pose_mpjpe_mm"]


def test_weights_trained_to_be_int8_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "er-nano.safetensors"
    facts = asdict(read_facts(weights_of("er-nano"))) | {"qat": {"steps": 1000}}
    save_file({}, path, metadata={"er_edge": json.dumps(facts)})
    with pytest.raises(UserError, match="was trained to be int8, which is gone"):
        load_network(path, "er-nano")


@pytest.mark.parametrize(("variant", "share"), [("er-xs", 0.72), ("er-s", 0.72)])
def test_clearly_better_than_the_mean_pose(variant: str, share: float) -> None:
    card = card_of(weights_of(variant))
    assert card["accuracy"]["mpjpe_mm"] <= share * card["mean_pose_mpjpe_mm"]
