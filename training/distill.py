"""Distil a teacher into a student: `python training/distill.py --recipe training/recipes/er-xs.toml`.

The recipe's [distill] table names the teacher and weighs the terms; all else is as in train.py, which trains the same
student by the labels alone. The teacher is a variant (the weights that come with it), a weight file or an ONNX file.

--store keeps the teacher's outputs on disk, per image and augmentation, and reads them when they come round again;
--check-stored N recomputes N of them, compares and exits; --dry-run shows what would be done and how long, and exits.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

if not __package__:  # run as a file: packages are found from the project's root, and this folder hides none
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from runtime.errors import CommandParser, UserError, run_command
from runtime.hand.hand_model import load_hand_models
from training import parallel
from training.data.dataset import SYNTHETIC
from training.distillation.dry_run import describe
from training.distillation.spec import DistillSpec
from training.distillation.store import StoredTeacher, StoreSpec, check_stored
from training.distillation.teacher import check_size, open_teacher
from training.distillation.terms import Distilled
from training.hands.layer import HandLayer
from training.recipe import Recipe
from training.train import add_run_arguments, network_of, recipe_of, settings_of
from training.trainer import Trainer, open_split


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, then distil, check or plan."""
    parser = CommandParser(__doc__)
    add_run_arguments(parser)
    parser.add_argument("--teacher", help="instead of the recipe's: a variant, FILE.safetensors or FILE.onnx")
    parser.add_argument("--store", type=Path, help="a folder that keeps the teacher's outputs")
    parser.add_argument("--check-stored", type=int, metavar="N", help="recompute N stored outputs, compare and exit")
    parser.add_argument("--dry-run", action="store_true", help="show data, steps, terms, sizes and time, and exit")
    args = parser.parse_args(arguments)
    recipe, spec = _recipe_and_spec(args)
    stored_as = _store_spec(args, recipe, spec)
    with parallel.process_group() as device:
        hands = load_hand_models(args.hand_model)
        network = network_of(args, recipe)
        teacher = open_teacher(spec, hands, device, recipe.bf16 or spec.bf16)
        check_size(teacher, network)
        objective_with = partial(Distilled, network, HandLayer(*hands), recipe.losses, spec, bf16=recipe.bf16)
        if args.dry_run and args.data == SYNTHETIC:  # which would be rendered first
            print(describe(recipe, objective_with(teacher), SYNTHETIC, recipe.images, stored_as, device))
            return 0
        frames = open_split(args.data, "train", hands, recipe.images)
        if args.dry_run:
            print(describe(recipe, objective_with(teacher), frames.label, len(frames), stored_as, device))
            return 0
        if stored_as is not None:
            teacher = StoredTeacher(teacher, args.store, frames, stored_as)
            if args.check_stored is not None:
                crops_px = {stage.crop_px for stage in recipe.stages}
                count, largest = check_stored(teacher, crops_px, args.check_stored, device)
                print(f"{count} stored outputs recomputed: the largest difference is {largest:.0%} of the tolerance")
                return 0
        settings = settings_of(args, f"{recipe.variant}-distilled")
        weights = Trainer(recipe, settings, objective_with(teacher), hands, device).run(frames)
        if parallel.rank() == 0:
            print(f"weights: {weights}")
    return 0


def _recipe_and_spec(args: argparse.Namespace) -> tuple[Recipe, DistillSpec]:
    recipe = recipe_of(args)
    if recipe.distill is None:
        source = args.recipe or f"the recipe of {args.variant}"
        raise UserError(f"{source} has no [distill] table: add one with the teacher and the terms' weights")
    if args.data == SYNTHETIC and recipe.images < 1:
        raise UserError("there is no image to train on: give --images of 1 or more")
    spec = recipe.distill if args.teacher is None else replace(recipe.distill, teacher=args.teacher)
    return replace(recipe, distill=spec, qat=None), spec


def _store_spec(args: argparse.Namespace, recipe: Recipe, spec: DistillSpec) -> StoreSpec | None:
    """What is stored, if anything; a UserError for what cannot be."""
    if args.check_stored is not None:
        if args.store is None:
            raise UserError("--check-stored needs the --store DIR to check")
        if args.dry_run:
            raise UserError("--check-stored has no effect with --dry-run: give one of them")
        if args.check_stored < 1:
            raise UserError("--check-stored must be 1 or more")
    if args.store is None:
        return None
    if not spec.draws:
        raise UserError(
            "stored outputs are used again only with 'draws' of 1 or more in [distill]: set it, or no --store"
        )
    temperature = spec.temperature if "heatmap" in spec.weights else None
    return StoreSpec(spec.draws, recipe.seed, recipe.augment, temperature, recipe.bf16 or spec.bf16)


if __name__ == "__main__":
    run_command(main)
