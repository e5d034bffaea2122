"""A run as the command line asks for it: recipe, data, network and teacher put together, then trained or described."""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import asdict, replace

import torch
from torch import Tensor

from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from training.checkpoint import initialise
from training.data.cache import cache_dir
from training.data.mixture import SYNTHETIC
from training.distillation.teacher import open_teacher
from training.distillation.terms import Distilled
from training.hands import HANDS
from training.hands.layer import HandLayer
from training.losses import Supervised
from training.network import build
from training.network.count import count_parameters_m
from training.recipe import DistillSpec, Recipe, Stage, default_recipe_path, read_recipe
from training.run import parallel
from training.run.trainer import RunSettings, Trainer, open_train, parameter_groups

TIMED_STEPS = 3  # of a dry run
CPU_BATCH = 8  # tried on a CPU in place of a larger one: its time grows with the batch


def run(args: argparse.Namespace, taught: bool) -> int:
    """Train, or say what that would be, as the command line of train.py, or where `taught` of distill.py, says."""
    recipe = recipe_of(args)
    spec = _taught(args, recipe) if taught else None
    recipe = replace(recipe, distill=spec)
    with parallel.process_group() as device:
        hands = load_hand_models(args.hand_model)
        torch.manual_seed(recipe.seed)
        network = build(recipe.variant)
        if args.init is not None:
            parallel.say(initialise(network, args.init))
        teacher = None if spec is None else open_teacher(spec, hands, device, recipe.bf16 or spec.bf16)
        drawn = drawn_here(args, device)
        frames = None
        if not (args.dry_run and any(source.synthetic for source in args.data)):  # a dry run makes no synthetic set
            # Where batches are drawn, a few are rendered, to name the set.
            frames = open_train(args.data, hands, min(recipe.images, 48) if drawn else recipe.images)
        recipe = recipe.for_images(recipe.images if frames is None or drawn else len(frames))
        if spec is None or teacher is None:
            objective = Supervised(network, HandLayer(*hands), recipe.losses, recipe.bf16)
        else:
            objective = Distilled(network, HandLayer(*hands), recipe.losses, spec, teacher, recipe.bf16)
        if args.dry_run:
            parallel.say(describe(recipe, objective, SYNTHETIC if frames is None else frames.label, device))
            return 0
        folder = args.run_dir or cache_dir() / "runs" / f"{recipe.variant}{'-distilled' if taught else ''}"
        settings = RunSettings(folder, tuple(args.data), args.workers, args.minutes, drawn, args.backgrounds)
        parallel.say(f"weights: {Trainer(recipe, settings, objective, hands, device).run(frames)}")
    return 0


def _taught(args: argparse.Namespace, recipe: Recipe) -> DistillSpec:
    """How the recipe and the command line let a teacher teach."""
    if recipe.distill is None:
        source = args.recipe or f"the recipe of {args.variant}"
        raise UserError(f"{source} has no [distill] table: add one with the teacher and the terms' weights")
    return recipe.distill if args.teacher is None else replace(recipe.distill, teacher=args.teacher)


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The recipe that the command line asks for."""
    if (args.variant is None) == (args.recipe is None):
        raise UserError("give either --variant NAME or --recipe FILE")
    recipe = read_recipe(args.recipe or default_recipe_path(args.variant))
    changes = {key: getattr(args, key) for key in ("images", "seed") if getattr(args, key) is not None}
    recipe = replace(recipe, **changes)
    if any(source.synthetic for source in args.data) and recipe.images < 1:
        raise UserError("there is no image to train on: give --images of 1 or more")
    return recipe if args.batch is None else recipe.with_batch(args.batch)


def drawn_here(args: argparse.Namespace, device: torch.device) -> bool:
    """Whether batches are drawn on a GPU, of the synthetic set alone; images are read from a disk else."""
    drawn = device.type == "cuda" and len(args.data) == 1 and args.data[0].synthetic
    if args.backgrounds is not None and not drawn:
        raise UserError(
            "--backgrounds are for pictures drawn on a GPU, of the synthetic set alone: draw a set with "
            "`python -m training.data.synthhands --backgrounds DIR --root ROOT` and give --data ROOT"
        )
    return drawn


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
        spec, teacher = objective.spec, objective.teacher
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
    """A batch as HandDataset's, all ones: two hands in every image, all labels known."""
    per_hand: dict[str, tuple[int, ...]] = {
        **dict.fromkeys(("presence", "has_presence", "has_mano"), ()),
        **dict.fromkeys(("joint_valid", "joint_valid_3d"), (21,)),
        **dict.fromkeys(("joints", "mano_joints"), (21, 3)),
        **{"points": (21, 2), "shape": (10,), "rotations": (16, 3, 3)},
    }
    shapes = {name: (HANDS, *shape) for name, shape in per_hand.items()}
    shapes |= {"image": (3, crop_px, crop_px), "relative_translation": (3,), "has_translation": ()}
    return {name: torch.ones(count, *shape, device=device) for name, shape in shapes.items()}


def _listed(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items() if value)
