"""What evaluate.py does: open weights or a file, and the images; measure, and print a table or JSON."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UserError, unknown_name
from runtime.hand.hand_model import HandPair, load_hand_models
from training.data.dataset import open_frames
from training.data.frames import Frames, drop_missing, named
from training.data.mixture import Source
from training.data.readers.interhand import human_ids
from training.evaluation.accuracy_table import Setting, compared, print_table, to_json
from training.evaluation.baselines import mean_pose_mpjpe_mm
from training.evaluation.predictions import Predictor, evaluate, file_predictor, network_predictor
from training.evaluation.protocols import ER, ER_WITHOUT_QUIRKS, MCP_SCALED, PROTOCOLS, Protocol
from training.evaluation.published_figures import DATASET


def report(args: argparse.Namespace) -> int:
    """Measure what evaluate.py's command line asks for, and print it."""
    protocols = protocols_of(args.protocol)
    hands = load_hand_models(args.hand_model)
    if args.model is not None:
        predict, crop_px = file_predictor(args.model, args.hand_model)
    else:
        predict, crop_px = _checkpoint_predictor(args.checkpoint, args.variant, hands)
    test = open_frames(args.data, args.split, hands, args.images)
    if not test.has_3d:
        if args.protocol is not None:
            raise UserError(f"--protocol has no effect on {test.name}: it has 2D joints alone, measured in the picture")
        protocols = ()
    found = without_missing(test, args.allow_missing)
    human, unmarked = human_annotated(args.data, args.split, hands, found)
    # A data set may come without its train split.
    has_train = Source(args.data).synthetic or (Path(args.data) / "annotations" / "train").is_dir()
    has_train = has_train and test.has_3d
    mean_pose_mm = mean_pose_mpjpe_mm(open_frames(args.data, "train", hands, args.images), found) if has_train else None
    setting = Setting(
        dataset=test.label,
        synthetic=test.synthetic,
        has_3d=test.has_3d,
        split=args.split,
        n_missing=len(test) - len(found),
        human_unmarked=unmarked,
        mean_pose_mpjpe_mm=mean_pose_mm,
        hand_model=hands[0].name,
    )
    extra = [protocol.as_published() for protocol in compared(protocols, setting)]
    scores = evaluate(predict, found, crop_px, hands, protocols=(*protocols, *extra), human=human)
    if args.json:
        print(json.dumps(to_json(setting, scores, protocols)))
    else:
        print_table(setting, scores, protocols)
    return 0


def _checkpoint_predictor(checkpoint: Path | None, variant: str, hands: HandPair) -> tuple[Predictor, int]:
    from training.checkpoint import check_hand_model, load_network, weights_of  # torch: an exported file needs none
    from training.run.parallel import this_device

    path = checkpoint or weights_of(variant)
    network, facts = load_network(path, variant)
    check_hand_model(path, facts.hand_model["name"], facts.hand_model["sha256"], hands)
    return network_predictor(network.to(this_device()), hands), network.variant.crop_px


def protocols_of(name: str | None) -> tuple[Protocol, ...]:
    """What --protocol stands for; ER's own always with its honest twin."""
    if name not in (None, "all", *PROTOCOLS):
        raise unknown_name("protocol", str(name), (*PROTOCOLS, "all"))
    of_name = {None: (MCP_SCALED, ER), "all": tuple(PROTOCOLS.values())}
    chosen: tuple[Protocol, ...] = of_name[name] if name in of_name else (PROTOCOLS[str(name)],)
    return (*chosen, ER_WITHOUT_QUIRKS) if ER in chosen else chosen


def without_missing(frames: Frames, allowed: bool) -> Frames:
    """The images whose files are there; a UserError where some are missing and that is not allowed."""
    found, missing = drop_missing(frames)
    if missing and not allowed:
        raise UserError(
            f"{len(missing)} of {len(frames)} images are missing below {frames.image_root} ({named(missing)}): "
            "complete the data set, or give --allow-missing"
        )
    return found


def human_annotated(
    data: str, split: str, hands: HandPair, frames: Frames
) -> tuple[NDArray[np.bool_] | None, str | None]:
    """Which images people annotated (N,); or None, and why that is not known."""
    if not frames.name.startswith(DATASET):
        return None, f"only {DATASET} says it"
    try:
        chosen = human_ids(Path(data), split, open_frames(data, split, hands).annotation_id)
    except UserError as error:
        return None, str(error)
    return np.isin(frames.annotation_id, chosen), None
