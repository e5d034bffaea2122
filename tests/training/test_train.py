"""A run from start to end, resumed, and refused."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from runtime.errors import UserError
from runtime.hand_model import load_hand_models
from training import train
from training.checkpoint import load_network, read_facts
from training.network import build
from training.recipe import Recipe, Stage
from training.train import RunSettings, StepSampler, Trainer, WeightAverage, learning_rate

RECIPE = Recipe(
    variant="er-nano",
    stages=(Stage(64, 4, 4), Stage(96, 2, 2)),
    images=48,
    warmup_steps=2,
    learning_rate=1e-3,
)


@pytest.fixture(autouse=True)
def few_validation_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "VALIDATION_IMAGES", 16)


def settings(folder: Path, **changes: object) -> RunSettings:
    return RunSettings(folder=folder, workers=0, **changes)  # type: ignore[arg-type]


def test_a_run_writes_weights_log_and_checkpoint(synthetic_root: Path, tmp_path: Path) -> None:
    weights = Trainer(RECIPE, settings(tmp_path)).run()
    facts = read_facts(weights)
    assert (facts.variant, facts.steps, facts.samples, facts.synthetic) == ("er-nano", 6, 4 * 4 + 2 * 2, True)
    assert facts.hand_model["sha256"] == load_hand_models()[0].sha256
    network, _ = load_network(weights, "er-nano")
    assert not network.training
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [row["step"] for row in rows] == ["6"]
    assert float(rows[0]["val_mpjpe_mm"]) > 0 and "synthetic" in rows[0]["dataset"]


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    synthetic_root: Path, tmp_path: Path, kill_after: Callable[[int], None]
) -> None:
    whole = Trainer(RECIPE, settings(tmp_path / "whole")).run()
    kill_after(3)
    with pytest.raises(KeyboardInterrupt):
        Trainer(RECIPE, settings(tmp_path / "parts")).run()
    kill_after(10_000)
    resumed = Trainer(RECIPE, settings(tmp_path / "parts"))
    assert resumed.step == 3
    parts = resumed.run()
    first, second = (load_network(path, "er-nano")[0].state_dict() for path in (whole, parts))
    worst = max(float((first[key].float() - second[key].float()).abs().max()) for key in first)
    assert worst < 1e-5


@pytest.fixture
def kill_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Checkpoint at every step, and die after so many."""

    def arm(steps: int) -> None:
        monkeypatch.setattr(train, "CHECKPOINT_SECONDS", 0)
        original = train.Trainer._save

        def save(self: Trainer, *arguments: object) -> None:
            original(self, *arguments)  # type: ignore[arg-type]
            if self.step == steps:
                raise KeyboardInterrupt

        monkeypatch.setattr(train.Trainer, "_save", save)

    return arm


def test_another_recipes_checkpoint_is_refused(synthetic_root: Path, tmp_path: Path) -> None:
    Trainer(RECIPE, settings(tmp_path)).run()
    with pytest.raises(UserError, match="another recipe"):
        Trainer(replace(RECIPE, learning_rate=1e-4), settings(tmp_path))


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match=r"checkpoint\.pt cannot be read"):
        Trainer(RECIPE, settings(tmp_path))


def test_a_loss_that_is_not_finite_keeps_the_batch(
    synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(RECIPE, settings(tmp_path))
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match="not finite at step 0"):
        trainer.run()
    batch = torch.load(tmp_path / "not_finite_step0.pt", weights_only=True)
    assert batch["image"].shape == (4, 3, 64, 64)
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.slow
def test_loading_processes_start_at_every_stage(synthetic_root: Path, tmp_path: Path) -> None:
    """A second stage's processes start after this one has validated, with all its threads."""
    recipe = replace(RECIPE, stages=(Stage(64, 4, 2), Stage(96, 2, 2)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "CHECKPOINT_SECONDS", 0)
        weights = Trainer(recipe, RunSettings(folder=tmp_path / "with", workers=1)).run()
        alone = Trainer(recipe, settings(tmp_path / "without")).run()
    first, second = (load_network(path, "er-nano")[0].state_dict() for path in (weights, alone))
    assert max(float((first[key].float() - second[key].float()).abs().max()) for key in first) < 1e-5


def test_init_starts_from_given_weights(synthetic_root: Path, tmp_path: Path) -> None:
    weights = Trainer(RECIPE, settings(tmp_path / "first")).run()
    trainer = Trainer(RECIPE, settings(tmp_path / "second", init=weights))
    expected = load_network(weights, "er-nano")[0].state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in trainer.network.state_dict().items() if value.dim())


def test_every_image_once_per_epoch_and_the_same_after_a_resume() -> None:
    batches = list(StepSampler(images=10, batch=4, start_sample=0, steps=5, seed=1))
    keys = [key for batch in batches for key in batch]
    assert sorted(index for index, epoch in keys if epoch == 0) == list(range(10))
    assert sorted(index for index, epoch in keys if epoch == 1) == list(range(10))
    assert [i for i, e in keys if e == 0] != [i for i, e in keys if e == 1]
    assert list(StepSampler(10, 4, start_sample=12, steps=2, seed=1)) == batches[3:]


def test_learning_rate() -> None:
    recipe = replace(RECIPE, stages=(Stage(64, 1, 110),), warmup_steps=10, learning_rate=1.0, final_learning_rate=0.0)
    assert learning_rate(recipe, 0) == pytest.approx(0.1)
    assert learning_rate(recipe, 9) == learning_rate(recipe, 10) == pytest.approx(1.0)
    assert learning_rate(recipe, 60) == pytest.approx(0.5)
    assert learning_rate(recipe, 110) == pytest.approx(0.0)


def test_weight_average() -> None:
    network = build("er-nano")
    average = WeightAverage(network, decay=0.5)
    before = average.state["translation.0.weight"].clone()
    with torch.no_grad():
        network.translation[0].weight.add_(1.0)
        network.backbone.layers[0][0].bn.running_mean.add_(3.0)
    average.update(network, step=1000)
    assert torch.allclose(average.state["translation.0.weight"], before + 0.5)
    assert float(average.state["backbone.layers.0.0.bn.running_mean"].mean()) == 3.0
