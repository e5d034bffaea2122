"""Prune a variant and let it recover: `python -m compress.prune --variant er-xs --ratio 0.3 --finetune-steps 400`.

What comes out is a checkpoint like any other: train, evaluate, export and quantise it with `--checkpoint`.
It recovers by distillation from the unpruned network; started again, that goes on from its last checkpoint.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate
from tqdm import tqdm

from compress.channels import IMPORTANCES, prune_by, score_channels
from compress.check.timing import one_frame, time_alternately
from compress.onnx.to_onnx import write_onnx
from runtime.errors import CommandParser, UserError, run_command
from runtime.files import file_sha256
from runtime.hand.hand_model import HandModel, load_hand_models
from training import parallel
from training.checkpoint import WeightFacts, load_network, save_weights, weights_of
from training.data.cache import cache_dir
from training.data.dataset import HandDataset
from training.data.frames import Frames
from training.distillation.spec import DistillSpec
from training.distillation.teacher import NetworkTeacher
from training.distillation.terms import Distilled
from training.hands.layer import HandLayer
from training.network import ERNet
from training.network.count import count_gmac, count_parameters_m
from training.recipe import Recipe, Stage
from training.trainer import RunSettings, Trainer, open_split

SCORED_IMAGES = 256
SCORED_BATCH = 16
LATENCY_TRIES = 6
MAX_RATIO = 0.7


@dataclass(frozen=True)
class PruneRequest:
    """What to prune, how far, and how to recover."""

    variant: str
    checkpoint: Path | None = None  # None: the weights that come with the project
    ratio: float | None = 0.3  # of the multiply-accumulates; None: as far as `latency_ms` asks
    latency_ms: float | None = None  # of the fp32 ONNX file, one thread, on this machine
    importance: str = "taylor"
    finetune_steps: int = 0
    learning_rate: float = 3e-4
    batch: int = 32
    data: str = "synthetic"
    images: int = 28_000  # of the synthetic train split, to recover on; the first of them score channels
    hand_model: Path | None = None
    run_dir: Path | None = None  # None: in the cache
    threads: int | None = None


@dataclass(frozen=True, eq=False)
class Pruned:
    """A network with fewer channels, and what it came from."""

    request: PruneRequest
    network: ERNet
    ratio: float  # that was asked for, or found
    original: ERNet
    source: Path  # the original's weights
    facts: WeightFacts  # of the original
    hands: tuple[HandModel, HandModel]

    @property
    def folder(self) -> Path:
        """Where the checkpoint goes: its own for all that makes another network."""
        request, weights = self.request, file_sha256(self.source)[:8]
        name = f"{request.variant}-pruned-{self.ratio!r}-{request.importance}-{weights}"
        return request.run_dir or cache_dir() / "runs" / name


def run(request: PruneRequest) -> tuple[Path, dict[str, Any]]:
    """Prune, recover, measure: the checkpoint's path and the figures beside those of the unpruned network."""
    return recover(shrink(request))


def shrink(request: PruneRequest) -> Pruned:
    """Prune: a matter of minutes. UserError for what cannot be asked for."""
    check(request)
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    hands = load_hand_models(request.hand_model)
    source = request.checkpoint or weights_of(request.variant)
    original, facts = load_network(source, request.variant)
    if facts.qat is not None or facts.widths is not None:
        raise UserError(f"{source} is pruned or trained to be int8 already: give the float weights it came from")
    frames = open_split(request.data, "train", hands, min(SCORED_IMAGES, request.images))
    batches = scored_batches(frames, original.variant.crop_px)
    scores = score_channels(original, request.importance, HandLayer(*hands), batches)
    if request.ratio is not None:
        ratio, network = request.ratio, prune_by(original, request.ratio, scores)
    else:
        ratio, network = prune_to_latency(original, request.latency_ms or 0.0, scores)
    return Pruned(request, network, ratio, original, source, facts, hands)


def check(request: PruneRequest) -> None:
    """What can be wrong before anything is loaded."""
    if (request.ratio is None) == (request.latency_ms is None):
        raise UserError("give either --ratio or --to-ms")
    if request.ratio is not None and not 0 < request.ratio < 1:
        raise UserError(f"a pruning ratio of {request.ratio} is none: give a number between 0 and 1, such as 0.3")
    if request.latency_ms is not None and not 0 < request.latency_ms < float("inf"):
        raise UserError(f"--to-ms {request.latency_ms} is no latency: give milliseconds above 0")
    if request.finetune_steps < 0 or request.batch < 1 or request.images < request.batch:
        raise UserError("--finetune-steps must be 0 or more, --batch at least 1, --images at least a batch")


def scored_batches(frames: Frames, crop_px: int) -> Iterator[dict[str, Tensor]]:
    """Samples, as they are, that importance is measured on."""
    dataset = HandDataset(frames, crop_px)
    count = min(SCORED_IMAGES, len(frames))
    for start in tqdm(range(0, count, SCORED_BATCH), desc="importance", unit="batch", leave=False):
        yield default_collate([dataset[i] for i in range(start, min(start + SCORED_BATCH, count))])


def prune_to_latency(original: ERNet, latency_ms: float, scores: list[Tensor]) -> tuple[float, ERNet]:
    """The least pruned network that takes at most so long, by bisection over the ratio; each try is timed in turn with
    the unpruned network, and its time is that ratio of the unpruned network's first one, so that drift cancels."""
    full_ms, _ = time_against(original, original)
    if full_ms <= latency_ms:
        raise UserError(f"the unpruned network takes {full_ms:.2f} ms already: nothing to prune")
    low, high, best = 0.0, MAX_RATIO, None
    ratio = MAX_RATIO
    for _ in range(LATENCY_TRIES):
        try:
            network = prune_by(original, ratio, scores)
        except UserError:  # more than it can give
            high = ratio
        else:
            _, faster = time_against(original, network)
            if full_ms / faster <= latency_ms:
                best, high = (ratio, network), ratio
            else:
                low = ratio
        ratio = round((low + high) / 2, 3)
    if best is None:
        raise UserError(f"no pruning reaches {latency_ms} ms: the unpruned network takes {full_ms:.2f} ms here")
    return best


def time_against(original: ERNet, network: ERNet) -> tuple[float, float]:
    """Latency of the original's fp32 file in ms, and how many times faster the other's is; one thread, in turn."""
    crop_px = original.variant.crop_px
    crop = np.random.default_rng(0).integers(0, 256, (crop_px, crop_px, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        runs = {}
        for name, which in (("original", original), ("pruned", network)):
            write_onnx(which, Path(folder) / f"{name}.onnx")
            runs[name] = one_frame(Path(folder) / f"{name}.onnx", crop)
        latency, ratios = time_alternately(runs, "original", rounds=6)
    return latency["original"].median, ratios["pruned"].median


def recover(pruned: Pruned) -> tuple[Path, dict[str, Any]]:
    """Fine-tune by the labels and by the unpruned network's outputs, hours where it was asked for; the checkpoint, and
    size and speed beside those of the unpruned network."""
    request, original = pruned.request, pruned.original
    path = pruned.folder / f"{request.variant}.safetensors"
    if request.finetune_steps:
        _fine_tune(pruned)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_weights(path, pruned.network.state_dict(), replace(pruned.facts, widths=pruned.network.widths))
    crop_px = original.variant.crop_px
    pair = (original, load_network(path, request.variant)[0])
    original_ms, faster = time_against(*pair)
    return path, {
        "variant": request.variant,
        "ratio": pruned.ratio,
        "gmac": [round(count_gmac(network, crop_px), 4) for network in pair],
        "parameters_m": [round(count_parameters_m(network), 3) for network in pair],
        "unpruned_ms": round(original_ms, 2),
        "times_faster": round(faster, 3),
    }


def _fine_tune(pruned: Pruned) -> None:
    request, crop_px = pruned.request, pruned.original.variant.crop_px
    spec = DistillSpec(teacher=request.variant, joints=10.0, vertices=10.0, joints_image=1.0, heatmap=0.1)
    recipe = Recipe(
        request.variant,
        (Stage(crop_px, request.batch, request.finetune_steps),),
        images=request.images,
        learning_rate=request.learning_rate,
        warmup_steps=min(50, request.finetune_steps // 4),
        ema_decay=0.99,
        distill=spec,
    )
    with parallel.process_group() as device:
        original = copy.deepcopy(pruned.original)  # which stays where it is, to be measured
        teacher = NetworkTeacher(original, request.variant, file_sha256(pruned.source), spec, device)
        objective = Distilled(pruned.network, HandLayer(*pruned.hands), recipe.losses, spec, teacher)
        Trainer(recipe, RunSettings(pruned.folder, request.data), objective, pruned.hands, device).run()


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, whose names are those of PruneRequest; prune, print."""
    parser = CommandParser(__doc__)
    add = parser.add_argument
    add("--variant", required=True)
    add("--checkpoint", type=Path, help="weights (.safetensors); default: the shipped ones")
    add("--ratio", type=float, help="share of the multiply-accumulates to lose, such as 0.3")
    add("--to-ms", type=float, dest="latency_ms", help="instead: as little as gives the fp32 file this latency here")
    add("--importance", default="taylor", help=f"of {', '.join(IMPORTANCES)}")
    add("--finetune-steps", type=int, default=0, help="of recovering; default: none")
    add("--learning-rate", type=float, default=3e-4)
    add("--batch", type=int, default=32)
    add("--data", default="synthetic", help="'synthetic' or a folder in InterHand2.6M's layout")
    add("--images", type=int, default=PruneRequest.images, help="of the synthetic train split")
    add("--hand-model", type=Path, help="a hand model .npz; default: the embedded one")
    add("--run-dir", type=Path, help="default: a folder of the cache")
    add("--threads", type=int, help="default: torch's choice")
    request = PruneRequest(**vars(parser.parse_args(arguments)))
    path, figures = run(request)
    print(json.dumps(figures))
    print(f"weights: {path}")
    print(f"next: python compress/export.py --variant {request.variant} --int8 --checkpoint {path}")
    return 0


if __name__ == "__main__":
    run_command(main)
