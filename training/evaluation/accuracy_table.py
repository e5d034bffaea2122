"""What evaluate.py does: open weights or a file, and the images; measure, and print a table or JSON."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runtime.errors import UserError, unknown_name
from runtime.hand.hand_model import HandPair, load_hand_models
from training.data.dataset import open_frames
from training.data.frames import drop_missing
from training.data.mixture import Source
from training.evaluation.points import HEADINGS, NOTE, point_cells
from training.evaluation.predictions import Predictor, evaluate, file_predictor, network_predictor
from training.evaluation.protocols import ER, ER_WITHOUT_QUIRKS, MCP_SCALED, PROTOCOLS, Protocol
from training.evaluation.scores import Scores, mean_pose_mpjpe_mm
from training.evaluation.text_table import number, print_columns


@dataclass(frozen=True)
class Setting:
    """What was measured on."""

    dataset: str  # with "(synthetic)" where it is
    synthetic: bool
    has_3d: bool
    split: str
    n_missing: int  # images left out because their files are missing
    mean_pose_mpjpe_mm: float | None  # by mcp-scaled; None without a train split
    hand_model: str  # that predictions and fits are skinned on


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
    found, missing = drop_missing(test)
    # A data set may come without its train split.
    has_train = Source(args.data).synthetic or (Path(args.data) / "annotations" / "train").is_dir()
    mean_pose_mm = None
    if has_train and test.has_3d:
        mean_pose_mm = mean_pose_mpjpe_mm(open_frames(args.data, "train", hands, args.images), found)
    setting = Setting(test.label, test.synthetic, test.has_3d, args.split, len(missing), mean_pose_mm, hands[0].name)
    scores = evaluate(predict, found, crop_px, hands, protocols=protocols)
    if args.json:
        print(json.dumps(_to_json(setting, scores, protocols)))
    else:
        _print_table(setting, scores, protocols)
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
    of_name: dict[str | None, tuple[Protocol, ...]] = {name: (protocol,) for name, protocol in PROTOCOLS.items()}
    of_name |= {None: (MCP_SCALED, ER), "all": tuple(PROTOCOLS.values())}
    if name not in of_name:
        raise unknown_name("protocol", str(name), (*PROTOCOLS, "all"))
    chosen = of_name[name]
    return (*chosen, ER_WITHOUT_QUIRKS) if ER in chosen else chosen


def _print_table(setting: Setting, scores: Scores, protocols: Sequence[Protocol]) -> None:
    """The figures with their data set in the header."""
    missing = f", {setting.n_missing} left out because their files are missing" if setting.n_missing else ""
    images = f"{scores.n_images} images, {scores.n_interacting} interacting{missing}"
    print(f"{setting.dataset}, {setting.split}: {images}")
    if setting.has_3d:
        _print_mm(setting, scores, protocols)
    print(f"\nin the picture, {setting.dataset}")
    print_columns([HEADINGS, *map(point_cells, scores.points.figures())])
    print(NOTE)


def _print_mm(setting: Setting, scores: Scores, protocols: Sequence[Protocol]) -> None:
    presence = f"presence: right on {scores.accuracy(setting.dataset).presence_accuracy:.1%} of hands"
    print(f"mean pose: {number(setting.mean_pose_mpjpe_mm)} mm MPJPE by {MCP_SCALED.name}; {presence}\n")
    rows: list[tuple[str, ...]] = [("protocol", "MPJPE all", "single", "two", "MPVPE", "MRRPE", "images")]
    for protocol in protocols:
        result, groups = scores.result(protocol), scores.result(protocol).mpjpe_mm
        figures = (groups.all, groups.single, groups.interacting, result.mpvpe_mm.all, result.mrrpe_mm)
        rows.append((protocol.name, *map(number, figures), str(result.n_single + result.n_interacting)))
    print_columns(rows)
    print("mm. The root's own zero error is left out of MPJPE, but not by er.")
    if ER in protocols:
        print("er is ER's own evaluator, quirks and all; the row without them is the honest one.")
    if not setting.synthetic and "MANO" not in setting.hand_model:
        print(f"The set's fits are MANO's: mesh figures on '{setting.hand_model}' mean nothing, give --hand-model.")


def _to_json(setting: Setting, scores: Scores, protocols: Sequence[Protocol]) -> dict[str, Any]:
    """The same as plain data, nan as null; the top level has a card's fields."""
    measured = {
        **asdict(scores.accuracy(setting.dataset)),
        **asdict(setting),
        "points": [asdict(figures) for figures in scores.points.figures()],
        "protocols": {protocol.name: asdict(scores.result(protocol)) for protocol in protocols},
    }
    return without_nan(measured)


def without_nan(value: Any) -> Any:
    """Plain data with null for what was not measured."""
    if isinstance(value, Mapping):
        return {key: without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value
