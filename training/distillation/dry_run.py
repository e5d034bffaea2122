"""What a distillation would do, as text: data, steps, terms, sizes, and the time by trying a few steps."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict

import torch
from torch import Tensor

from training import parallel
from training.distillation.store import StoreSpec, stored_bytes
from training.distillation.terms import Distilled
from training.network.count import count_parameters_m
from training.optim import parameter_groups
from training.recipe import Recipe, Stage

TIMED_STEPS = 2


def describe(
    recipe: Recipe,
    objective: Distilled,
    data: str,
    images: int,
    stored_as: StoreSpec | None,
    device: torch.device,
) -> str:
    """The plan, line by line. Takes a few steps of every stage on random tensors: the objective is spent afterwards."""
    teacher, spec = objective.teacher, objective.spec
    crops = [stage.crop_px for stage in recipe.stages]
    stages = ", ".join(f"{s.steps} of {s.batch} crops of {s.crop_px} px" for s in recipe.stages)
    teacher_m = teacher.parameters / 1e6
    lines = [
        f"student      {recipe.variant}, {count_parameters_m(objective.network):.2f} M parameters",
        f"teacher      {teacher.name}, {teacher_m:.2f} M parameters, sha256 {teacher.sha256[:8]}, "
        f"looks at {teacher.crop_px} px",
        f"data         {data}, {images} images",
        f"steps        {recipe.steps}: {stages}",
        f"samples      {recipe.samples}, {recipe.samples / images:.1f} epochs",
        f"labels       x {spec.labels:g}: {_weights(asdict(recipe.losses))}",
        f"distillation {_weights(spec.weights)}; grows over {spec.ramp_steps} steps; temperature {spec.temperature:g}",
        f"augmentation {spec.draws or 'any number of'} draws per image",
    ]
    if stored_as is not None:
        megabytes = stored_bytes(teacher, stored_as, images, crops) / 1e6
        lines.append(f"store        at most {megabytes:.0f} MB")
    total_s, asked = 0.0, teacher_shares(recipe, images, stored_as)
    for stage in recipe.stages:
        student_s, teacher_s = time_step(objective, recipe, stage, device)
        total_s += stage.steps * (student_s + asked[stage.crop_px] * teacher_s)
        lines.append(
            f"step         at {stage.crop_px} px: {student_s:.2f} s, and {teacher_s:.2f} s of the teacher "
            f"in {asked[stage.crop_px]:.0%} of them"
        )
    where = f"{device.type}, {torch.get_num_threads()} threads" if device.type == "cpu" else device.type
    lines.append(f"time         {total_s / 3600:.2f} h on this machine ({where}), if images load in time")
    return "\n".join(lines)


def teacher_shares(recipe: Recipe, images: int, stored_as: StoreSpec | None) -> dict[int, float]:
    """Of the samples at each crop size, how many the teacher is asked for; all, but for an (empty) store."""
    samples: dict[int, int] = defaultdict(int)
    for stage in recipe.stages:
        samples[stage.crop_px] += stage.steps * stage.batch
    if stored_as is None:
        return dict.fromkeys(samples, 1.0)
    return {crop_px: min(1.0, images * stored_as.draws / count) for crop_px, count in samples.items()}


def time_step(objective: Distilled, recipe: Recipe, stage: Stage, device: torch.device) -> tuple[float, float]:
    """Seconds of a step without its teacher, and of the teacher."""
    objective.to(device)
    objective.train()
    optimizer = torch.optim.AdamW(parameter_groups(objective, recipe.weight_decay), lr=0.0)
    batch = random_batch(stage.batch // parallel.world_size() or 1, stage.crop_px, device)

    def step() -> None:
        loss, _ = objective(batch, 0)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    teacher_s = _seconds(lambda: objective.teacher.teach(batch), device)
    return max(0.0, _seconds(step, device) - teacher_s), teacher_s


def random_batch(count: int, crop_px: int, device: torch.device) -> dict[str, Tensor]:
    """A batch as HandDataset's, of noise: two hands in every image, all labels known."""
    shapes: dict[str, tuple[int, ...]] = {
        "joints": (2, 21, 3),
        "points": (2, 21, 2),
        "mano_joints": (2, 21, 3),
        "shape": (2, 10),
        "relative_translation": (3,),
    }
    masks: dict[str, tuple[int, ...]] = {
        "presence": (2,),
        "has_presence": (2,),
        "joint_valid": (2, 21),
        "joint_valid_3d": (2, 21),
        "has_mano": (2,),
        "has_translation": (),
    }
    batch = {"image": torch.rand(count, 3, crop_px, crop_px, device=device)}
    batch |= {name: torch.rand(count, *shape, device=device) for name, shape in shapes.items()}
    batch |= {name: torch.ones(count, *shape, device=device) for name, shape in masks.items()}
    batch["rotations"] = torch.eye(3, device=device).expand(count, 2, 16, 3, 3)
    batch["key"] = torch.zeros(count, 2, dtype=torch.long, device=device)
    return batch


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Mean of some runs after one that warms up."""
    began = 0.0
    for run in range(TIMED_STEPS + 1):
        if run == 1:
            began = _now(device)
        work()
    return (_now(device) - began) / TIMED_STEPS


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic()


def _weights(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items() if value)
