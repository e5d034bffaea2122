"""Prune a variant and let it recover: `python -m compress.prune --variant er-xs --ratio 0.3 --finetune-steps 400`.

What comes out is a checkpoint like any other: train, evaluate, export and quantise it with `--checkpoint`.
It recovers by distillation from the unpruned network; started again, that goes on from its last checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from compress.channels import prune_by, score_channels
from compress.request import add_options, option
from runtime.errors import CommandParser, UserError, run_command
from runtime.files import file_sha256
from runtime.hand.hand_model import HandPair, load_hand_models
from training.checkpoint import WeightFacts, load_network, save_weights, weights_of
from training.data.cache import cache_dir, cache_error
from training.data.dataset import HandDataset
from training.data.frames import Frames
from training.data.mixture import Source
from training.distillation.teacher import NetworkTeacher
from training.distillation.terms import Distilled
from training.hands.layer import HandLayer
from training.network import ERNet
from training.network.count import count_gmac, count_parameters_m
from training.recipe import DistillSpec, Recipe, Stage
from training.run import parallel
from training.run.trainer import RunSettings, Trainer, open_split

SCORED_IMAGES = 256
SCORED_BATCH = 16
LEARNING_RATE = 3e-4


@dataclass(frozen=True)
class PruneRequest:
    """What to prune, how far, and how to recover."""

    variant: str = option(MISSING, "the network", required=True)
    checkpoint: Path | None = option(None, "weights (.safetensors); default: the shipped ones", type=Path)
    ratio: float = option(0.3, "share of the multiply-accumulates to lose; default 0.3", type=float)
    finetune_steps: int = option(0, "of recovering; default: none", type=int)
    batch: int = option(32, "images of a step", type=int)
    data: str = option("synthetic", "'synthetic' or a folder in InterHand2.6M's layout")
    images: int = option(28_000, "of the synthetic train split; the first of them score channels", type=int)
    hand_model: Path | None = option(None, "a hand model .npz; default: the embedded one", type=Path)
    run_dir: Path | None = option(None, "default: a folder of the cache", type=Path)


@dataclass(frozen=True, eq=False)
class Pruned:
    """A network with fewer channels, and what it came from."""

    request: PruneRequest
    network: ERNet
    original: ERNet
    source: Path  # the original's weights
    facts: WeightFacts  # of the original
    hands: HandPair

    @property
    def folder(self) -> Path:
        """Where the checkpoint goes: its own for all that makes another network."""
        name = f"{self.request.variant}-pruned-{self.request.ratio!r}-{file_sha256(self.source)[:8]}"
        return self.request.run_dir or cache_dir() / "runs" / name


def shrink(request: PruneRequest) -> Pruned:
    """Prune: a matter of minutes. UserError for what cannot be asked for."""
    check(request)
    hands = load_hand_models(request.hand_model)
    source = request.checkpoint or weights_of(request.variant)
    original, facts = load_network(source, request.variant)
    if facts.widths is not None:
        raise UserError(f"{source} is pruned already: give the weights it came from")
    frames = open_split(request.data, "train", hands, min(SCORED_IMAGES, request.images))
    scores = score_channels(original, HandLayer(*hands), scored_batches(frames, original.variant.crop_px))
    return Pruned(request, prune_by(original, request.ratio, scores), original, source, facts, hands)


def check(request: PruneRequest) -> None:
    """What can be wrong before anything is loaded."""
    if not 0 < request.ratio < 1:
        raise UserError(f"a pruning ratio of {request.ratio} is none: give a number between 0 and 1, such as 0.3")
    if request.finetune_steps < 0 or request.batch < 1 or request.images < request.batch:
        raise UserError("--finetune-steps must be 0 or more, --batch at least 1, --images at least a batch")


def scored_batches(frames: Frames, crop_px: int) -> Iterable[dict[str, Tensor]]:
    """Samples, as they are, that importance is measured on."""
    loader = DataLoader(HandDataset([frames.first(min(SCORED_IMAGES, len(frames)))], crop_px), SCORED_BATCH)
    return tqdm(loader, desc="importance", unit="batch", leave=False)


def recover(pruned: Pruned) -> tuple[Path, dict[str, Any]]:
    """Fine-tune by the labels and by the unpruned network's outputs, hours where it was asked for.

    Gives the checkpoint, and its size beside that of the unpruned network.
    """
    request, crop_px, networks = pruned.request, pruned.original.variant.crop_px, (pruned.original, pruned.network)
    path = pruned.folder / f"{request.variant}.safetensors"
    if request.finetune_steps:
        _fine_tune(pruned, Stage(crop_px, request.batch, request.finetune_steps))
    else:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cache_error(path.parent, error) from error
        save_weights(path, pruned.network.state_dict(), replace(pruned.facts, widths=pruned.network.widths))
    return path, {
        "variant": request.variant,
        "ratio": request.ratio,
        "gmac": [round(count_gmac(network, crop_px), 4) for network in networks],
        "parameters_m": [round(count_parameters_m(network), 3) for network in networks],
    }


def _fine_tune(pruned: Pruned, stage: Stage) -> None:
    variant, hands = pruned.request.variant, pruned.hands
    spec = DistillSpec(teacher=variant, joints=10.0, vertices=10.0, joints_image=1.0, heatmap=0.1)
    recipe = Recipe(
        variant,
        (stage,),
        images=pruned.request.images,
        learning_rate=LEARNING_RATE,
        warmup_steps=min(50, stage.steps // 4),
        ema_decay=0.99,
        distill=spec,
    )
    with parallel.process_group() as device:
        teacher = NetworkTeacher(pruned.original, variant, file_sha256(pruned.source), spec, device)
        objective = Distilled(pruned.network, HandLayer(*hands), recipe.losses, spec, teacher)
        settings = RunSettings(pruned.folder, (Source(pruned.request.data),))
        Trainer(recipe, settings, objective, hands, device).run()


def main(arguments: list[str] | None = None) -> int:
    parser = CommandParser(__doc__)
    add_options(parser, PruneRequest)
    request = PruneRequest(**vars(parser.parse_args(arguments)))
    path, figures = recover(shrink(request))
    print(json.dumps(figures))
    print(f"weights: {path}")
    print(f"next: python compress/export.py --variant {request.variant} --int8 --checkpoint {path}")
    return 0


if __name__ == "__main__":
    run_command(main)
