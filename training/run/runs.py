"""A run as the command line asks for it: recipe, data, network and teacher put together, then trained or described."""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch

from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from training.data.cache import cache_dir
from training.data.mixture import SYNTHETIC
from training.distillation.spec import DistillSpec
from training.distillation.store import StoredTeacher
from training.distillation.teacher import open_teacher
from training.distillation.terms import Distilled
from training.dry_run import describe
from training.hands.layer import HandLayer
from training.initial_weights import initialise
from training.network import ERNet, build
from training.objective import Supervised
from training.recipe import Recipe, default_recipe_path, read_recipe
from training.run import parallel
from training.run.trainer import RunSettings, Trainer, open_train


def run(args: argparse.Namespace, taught: bool) -> int:
    """Train, or say what that would be, as the command line of train.py, or where `taught` of distill.py, says."""
    recipe = recipe_of(args)
    spec, store = (_taught(args, recipe), args.store) if taught else (None, None)
    recipe = replace(recipe, distill=spec)
    with parallel.process_group() as device:
        hands = load_hand_models(args.hand_model)
        network = network_of(args, recipe)
        teacher = None if spec is None else open_teacher(spec, hands, device, recipe.bf16 or spec.bf16)
        drawn = drawn_here(args, device, images_stay=store is not None)
        frames = None
        if not (args.dry_run and _synthetic(args)):  # a dry run makes no synthetic set
            # Where batches are drawn, a few are rendered, to name the set.
            frames = open_train(args.data, hands, min(recipe.images, 48) if drawn else recipe.images)
        recipe = recipe.for_images(recipe.images if frames is None or drawn else len(frames))
        if spec is None or teacher is None:
            objective = Supervised(network, HandLayer(*hands), recipe.losses, recipe.bf16)
        else:
            if store is not None and frames is not None and not args.dry_run:
                teacher = StoredTeacher(teacher, store, frames, recipe, spec)
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
    if args.store is not None and not recipe.distill.draws:
        raise UserError("stored outputs come round again only with 'draws' of 1 or more in [distill]: set it")
    return recipe.distill if args.teacher is None else replace(recipe.distill, teacher=args.teacher)


def _synthetic(args: argparse.Namespace) -> bool:
    return any(source.synthetic for source in args.data)


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The recipe that the command line asks for; sets the number of threads."""
    if (args.variant is None) == (args.recipe is None):
        raise UserError("give either --variant NAME or --recipe FILE")
    recipe = read_recipe(args.recipe or default_recipe_path(args.variant))
    changes = {key: getattr(args, key) for key in ("images", "seed") if getattr(args, key) is not None}
    recipe = replace(recipe, **changes)
    if _synthetic(args) and recipe.images < 1:
        raise UserError("there is no image to train on: give --images of 1 or more")
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    return recipe if args.batch is None else recipe.with_batch(args.batch)


def network_of(args: argparse.Namespace, recipe: Recipe) -> ERNet:
    """The network to train, with the weights it starts from; seeds torch."""
    torch.manual_seed(recipe.seed)
    network = build(recipe.variant)
    if args.init is not None:
        parallel.say(initialise(network, args.init))
    return network


def drawn_here(args: argparse.Namespace, device: torch.device, images_stay: bool) -> bool:
    """Whether batches are drawn on a GPU, of the synthetic set alone; images are read from a disk else.

    `images_stay`: something is stored per image, so they must be the same ones again.
    """
    drawn = device.type == "cuda" and len(args.data) == 1 and args.data[0].synthetic and not images_stay
    if args.backgrounds is not None and not drawn:
        raise UserError(
            "--backgrounds are for pictures drawn on a GPU, of the synthetic set alone: draw a set with "
            "`python -m training.data.synthhands --backgrounds DIR --root ROOT` and give --data ROOT"
        )
    return drawn
