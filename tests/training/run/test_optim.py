"""Learning rate and moving average."""

from __future__ import annotations

import pytest
import torch

from training.network import build
from training.recipe import Recipe, Stage
from training.run.optim import WeightAverage, learning_rate, parameter_groups


def test_learning_rate() -> None:
    recipe = Recipe("er-nano", (Stage(64, 1, 110),), 1, warmup_steps=10, learning_rate=1.0, final_learning_rate=0.0)
    assert learning_rate(recipe, 0) == pytest.approx(0.1)
    assert learning_rate(recipe, 9) == learning_rate(recipe, 10) == pytest.approx(1.0)
    assert learning_rate(recipe, 60) == pytest.approx(0.5)
    assert learning_rate(recipe, 110) == pytest.approx(0.0)


def test_a_stage_with_a_rate_of_its_own_starts_again() -> None:
    first, second = Stage(64, 1, 110), Stage(96, 1, 100, learning_rate=0.5)
    recipe = Recipe("er-nano", (first, second), 1, warmup_steps=10, learning_rate=1.0, final_learning_rate=0.0)
    assert learning_rate(recipe, 60) == pytest.approx(0.5)
    assert learning_rate(recipe, 109) == pytest.approx(0.0, abs=1e-3)
    assert learning_rate(recipe, 110) == pytest.approx(0.05)
    assert learning_rate(recipe, 119) == learning_rate(recipe, 120) == pytest.approx(0.5)
    assert learning_rate(recipe, 165) == pytest.approx(0.25)
    assert learning_rate(recipe, 210) == pytest.approx(0.0)


def test_drops() -> None:
    recipe = Recipe("er", (Stage(64, 1, 100),), warmup_steps=10, learning_rate=1.0, drops=(0.5, 0.6))
    rates = [learning_rate(recipe, step) for step in (4, 10, 49, 50, 59, 60, 99)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01])


def test_weight_average() -> None:
    network = build("er-nano")
    average = WeightAverage(network, decay=0.5)
    before = average.state["regress.translation.0.weight"].clone()
    with torch.no_grad():
        network.regress.translation[0].weight.add_(1.0)
        network.backbone.layers[0][0].bn.running_mean.add_(3.0)
    average.update(network, step=1000)
    assert torch.allclose(average.state["regress.translation.0.weight"], before + 0.5)
    assert float(average.state["backbone.layers.0.0.bn.running_mean"].mean()) == 3.0


def test_only_matrices_decay_and_what_is_frozen_is_left_out() -> None:
    network = build("er-nano")
    network.regress.translation[0].weight.requires_grad_(False)
    decayed, free = (group["params"] for group in parameter_groups(network, 0.05))
    assert all(p.dim() > 1 for p in decayed) and all(p.dim() <= 1 for p in free)
    assert len(decayed) + len(free) == len(list(network.parameters())) - 1
    assert not any(p is network.regress.translation[0].weight for p in decayed)
