"""Ship a run's weights: `python -m training.tools.publish --recipe FILE --run-dir DIR`.

Copies the averaged weights to training/weights/ and writes their card: data, seed, steps, hardware, and the accuracy on
the test split beside the mean-pose predictor's.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runtime.errors import CommandParser, UserError, run_command
from runtime.files import write_bytes_atomic, write_text_atomic
from runtime.hand.hand_model import load_hand_models
from runtime.machine import processor_name
from training.checkpoint import SHIPPED, load_network
from training.data.dataset import SYNTHETIC, open_frames
from training.evaluation.baselines import mean_pose_mpjpe_mm
from training.evaluation.predictions import evaluate, network_predictor
from training.network.count import count_gmac, count_parameters_m
from training.recipe import Recipe, read_recipe

TEST_IMAGES = 1000


def make_card(weights: Path, recipe: Recipe, data: str = SYNTHETIC) -> dict[str, Any]:
    """Everything a card says of a weight file, accuracy measured here and now."""
    hands = load_hand_models()
    network, facts = load_network(weights, recipe.variant)
    if facts.hand_model["sha256"] != hands[0].sha256:
        raise UserError(f"{weights} was trained on another hand model than the embedded one: train it further first")
    test = open_frames(data, "test", hands, TEST_IMAGES)
    train = open_frames(data, "train", hands, TEST_IMAGES)
    crop_px = network.variant.crop_px
    accuracy = evaluate(network_predictor(network, hands), test, crop_px, hands).accuracy(test.label)
    mean_pose_mm = mean_pose_mpjpe_mm(train, test)
    return {
        "variant": recipe.variant,
        "parameters_m": round(count_parameters_m(network), 3),
        "gmac": round(count_gmac(network, crop_px), 4),
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "training": {
            "dataset": train.label,
            "synthetic": facts.synthetic,
            "images": recipe.images,
            "seed": facts.seed,
            "steps": facts.steps,
            "samples": facts.samples,
            "stages": [{k: v for k, v in asdict(stage).items() if v is not None} for stage in recipe.stages],
            "hardware": processor_name(),
            "teacher": facts.teacher,
            "qat": facts.qat,
        },
        "hand_model": facts.hand_model,
        "accuracy": {key: round(v, 3) if isinstance(v, float) else v for key, v in asdict(accuracy).items()},
        "mean_pose_mpjpe_mm": round(mean_pose_mm, 3),
        "share_of_mean_pose": round(accuracy.mpjpe_mm / mean_pose_mm, 3),
    }


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, copy the weights and write the card."""
    parser = CommandParser(__doc__)
    parser.add_argument("--recipe", type=Path, required=True, help="the recipe the run was trained by")
    parser.add_argument("--run-dir", type=Path, required=True, help="the run's folder")
    args = parser.parse_args(arguments)
    recipe = read_recipe(args.recipe)
    source = args.run_dir / f"{recipe.variant}.safetensors"
    card = make_card(source, recipe)
    write_bytes_atomic(SHIPPED / source.name, source.read_bytes())
    write_text_atomic(SHIPPED / f"{recipe.variant}.json", json.dumps(card, indent=2) + "\n")
    print(json.dumps(card["accuracy"], indent=2))
    return 0


if __name__ == "__main__":
    run_command(main)
