"""What evaluate.py says: the table on screen, or JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from training.evaluation.points import HEADINGS, NOTE, point_cells
from training.evaluation.protocols import ER, HUMAN, MCP_SCALED, Protocol, Result
from training.evaluation.published_figures import DATASET, published_for
from training.evaluation.scores import Scores
from training.evaluation.text_table import number, print_columns


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


def print_table(setting: Setting, scores: Scores, protocols: Sequence[Protocol]) -> None:
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
        rows.append((protocol.name, *map(number, _figures(result)), str(result.n_single + result.n_interacting)))
    print_columns(rows)
    print("mm. The root's own zero error is left out of MPJPE, but not by er.")
    if ER in protocols:
        print("er is ER's own evaluator, quirks and all; the row without them is the honest one.")
    if HUMAN in protocols and setting.human_unmarked:
        print(f"human counts all images: {setting.human_unmarked}.")
    if not setting.synthetic and "MANO" not in setting.hand_model:
        print(f"The set's fits are MANO's: mesh figures on '{setting.hand_model}' mean nothing, give --hand-model.")
    if comparable := compared(protocols, setting):
        print("Published figures are those of InterHand2.6M's whole test split.")
        for protocol in comparable:
            _print_published(protocol, scores)


def to_json(setting: Setting, scores: Scores, protocols: Sequence[Protocol]) -> dict[str, Any]:
    """The same as plain data, nan as null; the top level has a card's fields."""
    measured = {
        **asdict(scores.accuracy(setting.dataset)),
        **asdict(setting),
        "points": [asdict(figures) for figures in scores.points.figures()],
        "protocols": {protocol.name: asdict(scores.result(protocol)) for protocol in protocols},
    }
    if known := compared(protocols, setting):
        measured["published"] = [asdict(row) for protocol in known for row in published_for(protocol.name)]
        measured["as_published"] = {p.name: asdict(scores.result(p.as_published())) for p in known}
    return without_nan(measured)


def compared(protocols: Sequence[Protocol], setting: Setting) -> tuple[Protocol, ...]:
    """Those that there are published figures of, on the same data set."""
    if setting.synthetic or setting.dataset != DATASET:
        return ()
    return tuple(p for p in protocols if published_for(p.name) and not (p.human and setting.human_unmarked))


def _print_published(protocol: Protocol, scores: Scores) -> None:
    rows: list[tuple[str, ...]] = [(f"published, {protocol.name}", "all", "single", "two", "MPVPE", "MRRPE")]
    for row in published_for(protocol.name):
        groups = (row.mpjpe_all_mm, row.mpjpe_single_mm, row.mpjpe_interacting_mm)
        rows.append((f"  {row.method} ({row.source})", *map(number, (*groups, row.mpvpe_mm, row.mrrpe_mm))))
    counted = _figures(scores.result(protocol.as_published()))
    rows.append(("  this one, the root's zero error counted as they do", *map(number, counted)))
    print()
    print_columns(rows)


def _figures(result: Result) -> tuple[float, ...]:
    groups = result.mpjpe_mm
    return groups.all, groups.single, groups.interacting, result.mpvpe_mm.all, result.mrrpe_mm


def without_nan(value: Any) -> Any:
    """Plain data with null for what was not measured."""
    if isinstance(value, Mapping):
        return {key: without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value
