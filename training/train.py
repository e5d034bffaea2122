"""Train a variant: `python training/train.py --variant er-xs --data synthetic`.

A run lives in one folder: `checkpoint.pt` (everything needed to go on), `<variant>.safetensors` (the moving average of
the weights), `log.csv` and `curves.png`. Started again, it goes on from its last checkpoint and ends where an
uninterrupted one does. On several GPUs: `torchrun --nproc-per-node N training/train.py ...`; the recipe's batch is
shared by the processes. A recipe's [distill] table is distill.py's; training by the labels alone leaves it out.

--qat fine-tunes trained weights for int8, as the recipe's [qat] table says; `compress/export.py --int8 --checkpoint`
then writes the int8 file of just these weights and ranges.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import replace
from pathlib import Path

import torch

if not __package__:  # run as a file: packages are found from the project's root, and this folder hides none
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from runtime.errors import CommandParser, UserError, run_command
from runtime.hand.hand_model import load_hand_models
from training import parallel
from training.checkpoint import load_network, weights_of
from training.data.cache import cache_dir
from training.data.dataset import SYNTHETIC
from training.data.frames import Frames
from training.hands.layer import HandLayer
from training.initial_weights import initialise
from training.network import ERNet, build
from training.objective import Supervised
from training.quantisation.int8_rules import QuantizeSpec
from training.quantisation.qat import calibrate, crop_batches, prepare
from training.recipe import QatSpec, Recipe, default_recipe_path, read_recipe
from training.trainer import RunSettings, Trainer, open_split

MINUTES_HELP = """shorten the schedule to about so long: rate and crop size end where the recipe's do. Counted from the
first step on; making data and starting come before, the last validation after"""


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and train."""
    parser = CommandParser(__doc__)
    add_run_arguments(parser)
    parser.add_argument("--qat", action="store_true", help="fine-tune for int8; starts from --init or shipped weights")
    args = parser.parse_args(arguments)
    recipe = recipe_of(args)
    recipe = recipe.for_qat() if args.qat else replace(recipe, distill=None, qat=None)
    with parallel.process_group() as device:
        hands = load_hand_models(args.hand_model)
        frames = open_split(args.data, "train", hands, recipe.images)
        network = rounded_network_of(args, recipe, frames, device) if args.qat else network_of(args, recipe)
        objective = Supervised(network, HandLayer(*hands), recipe.losses, recipe.bf16)
        settings = settings_of(args, f"{recipe.variant}-qat" if args.qat else recipe.variant)
        weights = Trainer(recipe, settings, objective, hands, device).run(frames)
        if parallel.rank() == 0:
            print(f"weights: {weights}")
    return 0


def add_run_arguments(parser: CommandParser) -> None:
    """What every command that trains understands."""
    parser.add_argument("--variant", help="train by this variant's own recipe")
    parser.add_argument("--recipe", type=Path, help="a recipe file instead")
    parser.add_argument("--init", type=Path, help="start from these weights: own ones, or public ones of the backbone")
    parser.add_argument("--data", default=SYNTHETIC, help="'synthetic' or a folder in InterHand2.6M's layout")
    parser.add_argument("--images", type=int, help="size of the synthetic train split; default: the recipe's")
    parser.add_argument("--hand-model", type=Path, help="a hand model .npz; default: the embedded one")
    parser.add_argument("--run-dir", type=Path, help="default: a folder of the cache, named after the variant")
    parser.add_argument("--seed", type=int, help="default: the recipe's")
    parser.add_argument("--threads", type=int, help="of the training process; default: torch's choice")
    parser.add_argument("--workers", type=int, default=1, help="processes that load images")
    parser.add_argument("--minutes", type=float, default=math.inf, help=MINUTES_HELP)


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The recipe that the command line asks for; sets the number of threads."""
    if (args.variant is None) == (args.recipe is None):
        raise UserError("give either --variant NAME or --recipe FILE")
    recipe = read_recipe(args.recipe or default_recipe_path(args.variant))
    changes = {key: getattr(args, key) for key in ("images", "seed") if getattr(args, key) is not None}
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    return replace(recipe, **changes)


def network_of(args: argparse.Namespace, recipe: Recipe) -> ERNet:
    """The network to train, with the weights it starts from; seeds torch."""
    torch.manual_seed(recipe.seed)
    network = build(recipe.variant)
    if args.init is not None:
        parallel.say(initialise(network, args.init))
    return network


def rounded_network_of(args: argparse.Namespace, recipe: Recipe, frames: Frames, device: torch.device) -> ERNet:
    """Trained weights in a network that rounds as the int8 file will, its ranges measured on `frames`; seeds torch."""
    qat = recipe.qat or QatSpec()
    torch.manual_seed(recipe.seed)
    path = args.init or weights_of(recipe.variant)
    network, facts = load_network(path, recipe.variant)
    if facts.qat is not None:
        raise UserError(f"{path} was trained to be int8 already: give the float weights it came from as --init")
    prepare(network.to(device), QuantizeSpec(reduce_range=qat.reduce_range))
    images = frames.subset(slice(qat.calibration_images))
    calibrate(network, crop_batches(images, network.variant.crop_px))
    return network


def settings_of(args: argparse.Namespace, name: str) -> RunSettings:
    """Where and how long; `name` is the folder's in the cache, where none is given."""
    folder = args.run_dir or cache_dir() / "runs" / name
    return RunSettings(folder, args.data, args.workers, args.minutes)


if __name__ == "__main__":
    run_command(main)
