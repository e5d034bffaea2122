"""Cards of weights, records of runs, and training/RESULTS.md: what training bought.

    python -m training.tools.run_results ship --recipe FILE --run-dir DIR  # weights to training/weights/, with card
    python -m training.tools.run_results add --recipe FILE --run-dir DIR --method "scratch"  # a run's record
    python -m training.tools.run_results  # the report

A record is a card with the method's name; nothing in the report is typed by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import CommandParser, UserError, run_command
from runtime.files import file_sha256, write_bytes_atomic, write_text_atomic
from runtime.hand.hand_model import load_hand_models
from training.checkpoint import SHIPPED, check_hand_model, load_network
from training.data.dataset import open_frames
from training.data.mixture import SYNTHETIC
from training.evaluation.baselines import mean_pose_mpjpe_mm
from training.evaluation.predictions import evaluate, network_predictor
from training.network import VARIANTS
from training.network.count import count_gmac, count_parameters_m
from training.recipe import Recipe, read_recipe

FOLDER = Path(__file__).parents[1]
RECORDS = FOLDER / "results"
REPORT = FOLDER / "RESULTS.md"
TEST_IMAGES = 1000

Record = dict[str, Any]


def make_card(weights: Path, recipe: Recipe) -> Record:
    """Everything a card says of a weight file, accuracy measured here and now."""
    hands = load_hand_models()
    network, facts = load_network(weights, recipe.variant)
    check_hand_model(weights, facts.hand_model["name"], facts.hand_model["sha256"], hands)
    train, test = (open_frames(SYNTHETIC, split, hands, TEST_IMAGES) for split in ("train", "test"))
    crop_px = network.variant.crop_px
    accuracy = evaluate(network_predictor(network, hands), test, crop_px, hands).accuracy(test.label)
    mean_pose_mm = mean_pose_mpjpe_mm(train, test)
    return {
        "variant": recipe.variant,
        "parameters_m": round(count_parameters_m(network), 3),
        "gmac": round(count_gmac(network, crop_px), 4),
        "weights_sha256": file_sha256(weights),
        "training": {
            "dataset": train.label,
            "synthetic": facts.synthetic,
            "images": recipe.images,
            "seed": facts.seed,
            "steps": facts.steps,
            "samples": facts.samples,
            "stages": [{k: v for k, v in asdict(stage).items() if v} for stage in recipe.stages],
            "hardware": facts.hardware,
            "teacher": facts.teacher,
        },
        "hand_model": facts.hand_model,
        "accuracy": {key: round(v, 3) if isinstance(v, float) else v for key, v in asdict(accuracy).items()},
        "mean_pose_mpjpe_mm": round(mean_pose_mm, 3),
        "share_of_mean_pose": round(accuracy.mpjpe_mm / mean_pose_mm, 3),
    }


def ship(recipe: Recipe, weights: Path) -> Path:
    """Copy a run's weights to the shipped ones and write their card; gives its path."""
    card = make_card(weights, recipe)
    write_bytes_atomic(SHIPPED / weights.name, weights.read_bytes())
    return _write(SHIPPED / f"{recipe.variant}.json", card)


def add(recipe: Recipe, weights: Path, method: str) -> Path:
    """Keep a run's record; gives its path."""
    record = {"method": method, **make_card(weights, recipe)}
    facts = record["training"]
    slug = re.sub(r"[^a-z0-9.]+", "-", method.lower())
    return _write(RECORDS / f"{recipe.variant}_{slug}_{facts['samples']}_seed{facts['seed']}.json", record)


def read_records() -> list[Record]:
    """All that were kept."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RECORDS.glob("*.json"))]


def write_report(records: Sequence[Record]) -> str:
    """The report as Markdown. Runs of one student, method and length are averaged over their seeds."""
    groups: dict[tuple[int, bool, str, int], list[Record]] = {}
    for record in records:
        place = list(VARIANTS).index(record["variant"])
        key = (place, record["method"] != "scratch", record["method"], record["training"]["samples"])
        groups.setdefault(key, []).append(record)
    alone = {(key[0], key[3]): _mean(runs, "mpjpe_mm") for key, runs in groups.items() if _is_plain(runs[0])}
    best: dict[str, float] = {}
    for record in records:
        best[record["variant"]] = min(best.get(record["variant"], np.inf), record["accuracy"]["mpjpe_mm"])
    rows = []
    for key, runs in sorted(groups.items()):
        spread = f"{np.ptp([run['accuracy']['mpjpe_mm'] for run in runs]):.2f}" if len(runs) > 1 else "one seed"
        figures = [f"{_mean(runs, name):.2f}" for name in ("mpjpe_mm", "mpvpe_mm", "mrrpe_mm")]
        mpjpe_mm, first = _mean(runs, "mpjpe_mm"), runs[0]
        teacher = (first["training"].get("teacher") or {}).get("name")
        if not _is_plain(first) and (key[0], key[3]) in alone:
            compared = f"{mpjpe_mm / alone[key[0], key[3]] - 1:+.1%} to labels alone"
        else:
            compared = "-"
        of_teacher = f"{mpjpe_mm / best[teacher]:.2f}" if teacher in best else "-"
        row = [f"`{first['variant']}`", key[2], teacher or "-", str(len(runs)), f"{key[3]:,}", figures[0], spread]
        rows.append([*row, *figures[1:], of_teacher, compared])
    data, mean_pose_mm = records[0]["accuracy"], records[0]["mean_pose_mpjpe_mm"]
    rows.append(["-", "the mean pose", *["-"] * 3, f"{mean_pose_mm:.2f}", *["-"] * 5])
    return TEMPLATE.format(
        dataset=data["dataset"],
        n_images=data["n_images"],
        rows="\n".join(f"| {' | '.join(row)} |" for row in rows),
        hardware="; ".join(sorted({record["training"]["hardware"] or "not known" for record in records})),
    )


TEMPLATE = """# What training bought

<!-- made by python -m training.tools.run_results, do not edit -->

**Every figure is synthetic**: {dataset}, {n_images} test images that no run has seen, protocol `mcp-scaled`. \
None is comparable with a paper's.

| student | method | teacher | seeds | samples | MPJPE mm | spread mm | MPVPE mm | MRRPE mm | of teacher's | compared |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
{rows}

Spread: largest minus smallest over the seeds. Of teacher's: MPJPE over that of its teacher's best run; the aims are at
most 1.15 for `er-s`, 1.35 for `er-xs` and 1.6 for `er-nano`. To labels alone: against the same student and samples
without a teacher; the aim is -5%. `further` went on from the shipped weights. The mean pose always says
the train split's mean. The largest variants have no weights, for want of a GPU: nothing larger than `er-s` could be a
teacher. Presence, feature maps, relational, relative translation and rotations, which gained less than seeds differ,
are no terms any more.

Hardware: {hardware}.
"""


def _write(path: Path, content: Record) -> Path:
    write_text_atomic(path, json.dumps(content, indent=2) + "\n")
    return path


def _is_plain(record: Record) -> bool:
    """Trained by labels alone."""
    return not record["training"].get("teacher")


def _mean(records: Sequence[Record], figure: str) -> float:
    return float(np.mean([record["accuracy"][figure] for record in records]))


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line."""
    parser = CommandParser(__doc__)
    parser.add_argument("do", nargs="?", choices=("report", "ship", "add"), default="report")
    parser.add_argument("--recipe", type=Path, help="ship, add: the recipe the run was trained by")
    parser.add_argument("--run-dir", type=Path, help="ship, add: the run's folder")
    parser.add_argument("--method", help="add: what it was trained by, 'scratch' without a teacher")
    args = parser.parse_args(arguments)
    of_run = args.do in ("ship", "add")
    given = tuple(value is not None for value in (args.recipe, args.run_dir, args.method))
    if given != (of_run, of_run, args.do == "add"):
        raise UserError("ship and add need --recipe and --run-dir, add --method too; nothing else takes them")
    if of_run:
        recipe = read_recipe(args.recipe)
        weights = args.run_dir / f"{recipe.variant}.safetensors"
        print(ship(recipe, weights) if args.do == "ship" else add(recipe, weights, args.method))
    else:
        write_text_atomic(REPORT, write_report(read_records()))
        print(REPORT)
    return 0


if __name__ == "__main__":
    run_command(main)
