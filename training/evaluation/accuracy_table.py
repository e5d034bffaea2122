"""What evaluate.py does: open weights or a file, and the images; measure, and print a table or JSON."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UserError, unknown_name
from runtime.hand.hand_model import HandPair, load_hand_models
from training.data.dataset import open_frames
from training.data.frames import Frames, drop_missing
from training.data.mixture import Source
from training.data.readers.interhand import human_ids
from training.evaluation.points import HEADINGS, NOTE, point_cells
from training.evaluation.predictions import Predictor, evaluate, file_predictor, network_predictor
from training.evaluation.protocols import ER, ER_WITHOUT_QUIRKS, HUMAN, MCP_SCALED, PROTOCOLS, Protocol, Result
from training.evaluation.scores import Scores, mean_pose_mpjpe_mm
from training.evaluation.text_table import number, print_columns


@dataclass(frozen=True)
class Published:
    """One method's figures: MPJPE of all, single and two hands, MPVPE, MRRPE; None where its paper gives none."""

    method: str
    protocol: str
    source: str
    figures_mm: tuple[float | None, ...]


DATASET = "InterHand2.6M"
FIGURES = (
    Published("InterNet", "wrist", "Moon et al., ECCV 2020", (14.22, 12.16, 16.02, None, None)),
    Published("Keypoint Transformer", "wrist", "Hampali et al., CVPR 2022", (12.62, 10.88, 14.16, None, 29.50)),
    Published("A2J-Transformer", "wrist", "Jiang et al., CVPR 2023", (9.63, 8.10, 10.96, None, None)),
    Published("IntagHand", "mcp-scaled", "Li et al., CVPR 2022", (None, None, 8.80, 9.03, None)),
    Published("Zhang 2021", "mcp-scaled", "ICCV 2021, on v1.0", (None, None, 8.64, 9.59, None)),
    Published("DIR", "wrist-scaled", "Ren et al., ICCV 2023", (None, None, 10.23, 10.00, 29.26)),
    Published("InterWild", "human", "Moon, CVPR 2023", (13.65, 12.75, 14.55, 11.55, 26.74)),
    Published("EANet", "er", "Park et al., ICCVW 2023", (5.88, None, None, 5.45, 28.54)),
    Published("ER", "er", "its paper", (6.65, None, None, None, None)),
    Published("ER's kin, TinyViT-5M", "er", "its paper", (7.94, None, None, None, None)),
    Published("ER's kin, TinyViT-11M", "er", "read off its paper's figure", (6.54, None, None, None, None)),
    Published("ER's kin, TinyViT-21M", "er", "read off its paper's figure", (6.29, None, None, None, None)),
)


def published_for(protocol: str) -> tuple[Published, ...]:
    """The figures of one protocol."""
    return tuple(figure for figure in FIGURES if figure.protocol == protocol)


@dataclass(frozen=True)
class Setting:
    """What was measured on."""

    dataset: str  # with "(synthetic)" where it is
    synthetic: bool
    has_3d: bool
    split: str
    n_missing: int  # images left out because their files are missing
    human_unmarked: str | None  # why it is not known which images people annotated; None where it is
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
    human, unmarked = _human_annotated(args.data, args.split, hands, found)
    # A data set may come without its train split.
    has_train = Source(args.data).synthetic or (Path(args.data) / "annotations" / "train").is_dir()
    mean_pose_mm = None
    if has_train and test.has_3d:
        mean_pose_mm = mean_pose_mpjpe_mm(open_frames(args.data, "train", hands, args.images), found)
    setting = Setting(
        test.label, test.synthetic, test.has_3d, args.split, len(missing), unmarked, mean_pose_mm, hands[0].name
    )
    extra = [protocol.as_published() for protocol in _compared(protocols, setting)]
    scores = evaluate(predict, found, crop_px, hands, protocols=(*protocols, *extra), human=human)
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


def _human_annotated(
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


def _compared(protocols: Sequence[Protocol], setting: Setting) -> tuple[Protocol, ...]:
    """Those that there are published figures of, on the same data set."""
    if setting.dataset != DATASET:
        return ()
    return tuple(p for p in protocols if published_for(p.name) and not (p.human and setting.human_unmarked))


def _print_table(setting: Setting, scores: Scores, protocols: Sequence[Protocol]) -> None:
    """The figures with their data set in the header, the published ones below, on InterHand2.6M alone."""
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
        result = scores.result(protocol)
        rows.append((protocol.name, *_figures(result), str(result.n_single + result.n_interacting)))
    print_columns(rows)
    print("mm. The root's own zero error is left out of MPJPE, but not by er.")
    if ER in protocols:
        print("er is ER's own evaluator, quirks and all; the row without them is the honest one.")
    if HUMAN in protocols and setting.human_unmarked:
        print(f"human counts all images: {setting.human_unmarked}.")
    if not setting.synthetic and "MANO" not in setting.hand_model:
        print(f"The set's fits are MANO's: mesh figures on '{setting.hand_model}' mean nothing, give --hand-model.")
    if comparable := _compared(protocols, setting):
        print("Published figures are those of InterHand2.6M's whole test split.")
    for protocol in comparable:
        rows = [(f"published, {protocol.name}", "all", "single", "two", "MPVPE", "MRRPE")]
        for row in published_for(protocol.name):
            rows.append((f"  {row.method} ({row.source})", *map(number, row.figures_mm)))
        counted = _figures(scores.result(protocol.as_published()))
        print()
        print_columns([*rows, ("  this one, the root's zero error counted as they do", *counted)])


def _figures(result: Result) -> list[str]:
    groups = result.mpjpe_mm
    return list(map(number, (groups.all, groups.single, groups.interacting, result.mpvpe_mm.all, result.mrrpe_mm)))


def _to_json(setting: Setting, scores: Scores, protocols: Sequence[Protocol]) -> dict[str, Any]:
    """The same as plain data, nan as null; the top level has a card's fields."""
    measured = {
        **asdict(scores.accuracy(setting.dataset)),
        **asdict(setting),
        "points": [asdict(figures) for figures in scores.points.figures()],
        "protocols": {protocol.name: asdict(scores.result(protocol)) for protocol in protocols},
    }
    if known := _compared(protocols, setting):
        measured["published"] = [asdict(row) for protocol in known for row in published_for(protocol.name)]
        measured["as_published"] = {p.name: asdict(scores.result(p.as_published())) for p in known}
    return without_nan(measured)


def without_nan(value: Any) -> Any:
    """Plain data with null for what was not measured."""
    if isinstance(value, Mapping):
        return {key: without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value
