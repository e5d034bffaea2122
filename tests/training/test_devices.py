"""Everything that trains computes on the device that is handed down, and meets no tensor of another one."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from compress.channels import find_groups, prune_by
from runtime.hand.hand_model import load_hand_models
from tests.fixtures.fake_device import FakeDevice
from training.distillation.teacher import NetworkTeacher
from training.distillation.terms import Distilled
from training.evaluation.predictions import look
from training.hands.layer import HandLayer
from training.losses import LossWeights, Supervised
from training.network import ERNet, build
from training.recipe import TERMS, DistillSpec, Recipe, Stage
from training.run.runs import random_batch
from training.run.trainer import RunSettings, Trainer

HANDS = load_hand_models()
CPU = torch.device("cpu")


def supervised(_: FakeDevice) -> Supervised:
    return Supervised(build("er-nano"), HandLayer(*HANDS), LossWeights())


def distilled(gpu: FakeDevice) -> Supervised:
    return taught(gpu, "er-s", build("er-nano"))


def recovered(gpu: FakeDevice) -> Supervised:
    """A pruned network that learns from its unpruned self, as compress/prune.py lets it."""
    whole = build("er-nano")
    scores = [torch.arange(float(len(group.order))) for group in find_groups(whole)[1]]
    return taught(gpu, "er-nano", prune_by(whole, 0.3, scores))


def taught(gpu: FakeDevice, by: str, student: ERNet) -> Supervised:
    spec = DistillSpec(by, **dict.fromkeys(TERMS, 1.0))
    network = gpu.fake(build(by))
    with gpu.tracing(), gpu.moving():
        teacher = NetworkTeacher(network, by, "00", spec, gpu.device)
    return Distilled(student, HandLayer(*HANDS), LossWeights(), spec, teacher)


def train_and_validate(make: Callable[[FakeDevice], Supervised]) -> None:
    """A step on a batch that comes from the CPU, as the loader's, and a validation of the averaged weights."""
    gpu = FakeDevice()
    objective = gpu.fake(make(gpu))
    variant = objective.network.variant
    crop_px = variant.crop_px
    recipe = Recipe(variant.name, (Stage(crop_px, 2, 3),), images=4)
    with gpu.tracing():
        with gpu.moving():
            trainer = Trainer(recipe, RunSettings(Path()), objective, HANDS, gpu.device)
        loss, figures = trainer.compute(random_batch(2, crop_px, CPU))
        trainer.update(loss)
        assert {loss.device, *(value.device for value in figures.values())} == {gpu.device}
        network = trainer.averaged()
        assert {value.device for value in network.parameters()} == {gpu.device}
        assert {value.device for value in look(network, torch.zeros(2, crop_px, crop_px, 3))} == {CPU}
        with pytest.raises(RuntimeError, match="same device"):  # the fake device notices what a GPU would
            network(torch.zeros(1, 3, crop_px, crop_px))
    os._exit(0)


@pytest.mark.slow
@pytest.mark.parametrize("make", [supervised, distilled, recovered])
def test_one_device(make: Callable[[FakeDevice], Supervised]) -> None:
    process = multiprocessing.get_context("spawn").Process(target=train_and_validate, args=(make,))
    process.start()
    process.join()
    assert process.exitcode == 0
