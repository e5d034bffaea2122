"""How weights move: parameter groups, the learning rate over a run, and the moving average that is shipped."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from training.recipe import Recipe


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trained parameters, with weight decay on matrices and kernels only."""
    trained = [p for p in module.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.dim() > 1]
    vectors = [p for p in trained if p.dim() <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then a cosine down to the final rate, anew where a stage has a rate of its own; or drops."""
    begin, end, peak, warmup = 0, recipe.steps, recipe.learning_rate, recipe.warmup_steps
    position = 0
    for stage in recipe.stages:
        if stage.learning_rate is not None:
            if step < position:
                end = position
                break
            begin, peak = position, stage.learning_rate
            warmup = min(recipe.warmup_steps, stage.steps // 10)
        position += stage.steps
    if step - begin < warmup:
        return peak * (step - begin + 1) / warmup
    if recipe.drops:
        return peak * 0.1 ** sum(step >= share * recipe.steps for share in recipe.drops)
    progress = (step - begin - warmup) / max(1, end - begin - warmup)
    wave = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return recipe.final_learning_rate + (peak - recipe.final_learning_rate) * wave


class WeightAverage:
    """Exponential moving average of a network's weights; norm statistics are copied."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {k: v.detach().clone() for k, v in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move towards the network; fast in the first steps of a stage, when the average is still another stage's."""
        decay = min(self.decay, (1 + step) / (10 + step))
        trained = dict(network.named_parameters())
        for name, value in network.state_dict().items():
            if name in trained:
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)
