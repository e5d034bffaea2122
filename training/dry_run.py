"""What a run would do, as text: data, steps, terms, sizes, and the hours by trying a few steps."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict

import torch
from torch import Tensor

from training.distillation.terms import Distilled
from training.hands import HANDS
from training.network.count import count_parameters_m
from training.objective import Supervised
from training.recipe import Recipe, Stage
from training.run import parallel
from training.run.optim import parameter_groups

TIMED_STEPS = 3
CPU_BATCH = 8  # tried on a CPU in place of a larger one: its time grows with the batch


def describe(recipe: Recipe, objective: Supervised, data: str, device: torch.device) -> str:
    """The plan, line by line. Takes a few steps of every stage on random tensors: the objective is spent afterwards."""
    stages = ", ".join(f"{s.steps} of {s.batch} crops of {s.crop_px} px" for s in recipe.stages)
    lines = [
        f"network      {recipe.variant}, {count_parameters_m(objective.network):.2f} M parameters",
        f"data         {data}, {recipe.images} images, {recipe.samples / recipe.images:.1f} epochs",
        f"steps        {recipe.steps}: {stages}",
        f"labels       {_listed(asdict(recipe.losses))}",
    ]
    if isinstance(objective, Distilled):
        spec, teacher = objective.spec, objective.teacher.facts
        lines += [
            f"teacher      {teacher.name}, sha256 {teacher.sha256[:8]}, looks at {teacher.crop_px} px",
            f"distillation {_listed(spec.weights)}; grows over {spec.ramp_steps} steps; labels x {spec.labels:g}; "
            f"temperature {spec.temperature:g}",
        ]
    times_s = [step_seconds(objective, recipe, stage, device) for stage in recipe.stages]
    hours = sum(stage.steps * seconds for stage, seconds in zip(recipe.stages, times_s, strict=True)) / 3600
    step = ", ".join(f"{seconds:.2f} s" for seconds in times_s)
    lines.append(f"step         {step}, a teacher's part included")
    lines.append(f"time         {hours:.2f} h on {parallel.hardware_name(device)}, if images load in time")
    return "\n".join(lines)


def step_seconds(objective: Supervised, recipe: Recipe, stage: Stage, device: torch.device) -> float:
    """Median of some training steps of this process's share of a batch, after one that warms up."""
    objective.to(device).train()
    optimizer = torch.optim.AdamW(parameter_groups(objective, recipe.weight_decay), lr=0.0)
    share = max(1, stage.batch // parallel.world_size())
    tried = min(share, CPU_BATCH) if device.type == "cpu" else share
    batch = random_batch(tried, stage.crop_px, device)
    times_s = []
    for _ in range(TIMED_STEPS + 1):
        began = time.monotonic()
        loss, _ = objective(batch, 0)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss.item()  # waits for the device
        times_s.append(time.monotonic() - began)
    return statistics.median(times_s[1:]) * share / tried


def random_batch(count: int, crop_px: int, device: torch.device) -> dict[str, Tensor]:
    """A batch as HandDataset's, of noise: two hands in every image, all labels known."""
    known: dict[str, tuple[int, ...]] = {
        **dict.fromkeys(("presence", "has_presence", "has_mano"), (HANDS,)),
        **dict.fromkeys(("joint_valid", "joint_valid_3d"), (HANDS, 21)),
        "has_translation": (),
    }
    noise: dict[str, tuple[int, ...]] = {
        "image": (3, crop_px, crop_px),
        **dict.fromkeys(("joints", "mano_joints"), (HANDS, 21, 3)),
        "points": (HANDS, 21, 2),
        "shape": (HANDS, 10),
        "relative_translation": (3,),
    }
    batch = {name: torch.ones(count, *shape, device=device) for name, shape in known.items()}
    batch |= {name: torch.rand(count, *shape, device=device) for name, shape in noise.items()}
    batch["rotations"] = torch.eye(3, device=device).expand(count, HANDS, 16, 3, 3)
    batch["key"] = torch.zeros(count, 2, dtype=torch.long, device=device)
    return batch


def _listed(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items() if value)
