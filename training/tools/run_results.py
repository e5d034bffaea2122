"""Cards of weights, records of runs, and training/RESULTS.md: what training bought.

    python -m training.tools.run_results ship --recipe FILE --run-dir DIR  # weights to training/weights/, with card
    python -m training.tools.run_results add --recipe FILE --run-dir DIR --method "scratch"  # a run's record
    python -m training.tools.run_results baselines  # the predictors that learn nothing
    python -m training.tools.run_results [--check]  # write, or only compare, the report

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
from training.data.dataset import SYNTHETIC, open_frames
from training.evaluation.baselines import mean_pose_mpjpe_mm, previous_pose_mpjpe_mm
from training.evaluation.predictions import evaluate, network_predictor
from training.network import VARIANTS
from training.network.count import count_gmac, count_parameters_m
from training.recipe import Recipe, read_recipe

FOLDER = Path(__file__).parents[1]
RECORDS = FOLDER / "results"
REPORT = FOLDER / "RESULTS.md"
TEST_IMAGES = 1000
# Aims of the students: their MPJPE over their teacher's.
AIMS = {"er-s": 1.15, "er-xs": 1.35, "er-nano": 1.6}
QAT_AIM_MM = 0.05  # that int8 may lose against the float weights it was fine-tuned from
GAIN_AIM = 0.05  # of distillation over training from scratch, same student, same samples

Record = dict[str, Any]


def make_card(weights: Path, recipe: Recipe) -> Record:
    """Everything a card says of a weight file, accuracy measured here and now."""
    hands = load_hand_models()
    network, facts = load_network(weights, recipe.variant)
    check_hand_model(weights, facts.hand_model["name"], facts.hand_model["sha256"], hands)
    recipe = recipe.for_qat() if facts.qat else recipe
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
            "stages": [{k: v for k, v in asdict(stage).items() if v is not None} for stage in recipe.stages],
            "hardware": facts.hardware,
            "teacher": facts.teacher,
            "qat": facts.qat,
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
    if not re.fullmatch(r"[a-z0-9 +.,-]{1,60}", method):
        raise UserError(f"--method {method!r}: give up to 60 small letters, digits, blanks or + . , -")
    record = {"method": method, **make_card(weights, recipe)}
    facts = record["training"]
    if facts["qat"]:  # what it began with: --init's default
        record["float_mpjpe_mm"] = json.loads((SHIPPED / f"{recipe.variant}.json").read_text())["accuracy"]["mpjpe_mm"]
    slug = re.sub(r"[ ,+]+", "-", method)
    return _write(RECORDS / f"{recipe.variant}_{slug}_{facts['samples']}_seed{facts['seed']}.json", record)


def measure_baselines() -> Record:
    """The predictors that look at no image, on the same test images as the records."""
    hands = load_hand_models()
    train, test = (open_frames(SYNTHETIC, split, hands, TEST_IMAGES) for split in ("train", "test"))
    return {
        "dataset": test.label,
        "n_images": len(test),
        "mean_pose_mpjpe_mm": round(mean_pose_mpjpe_mm(train, test), 3),
        "previous_pose_mpjpe_mm": round(previous_pose_mpjpe_mm(test), 3),
    }


def write_report(records: Sequence[Record], baselines: Record) -> str:
    """The report as Markdown. Runs of one student, method and length are averaged over their seeds."""
    groups: dict[tuple[int, bool, str, int], list[Record]] = {}
    for record in records:
        place = list(VARIANTS).index(record["variant"])
        key = (place, record["method"] != "scratch", record["method"], record["training"]["samples"])
        groups.setdefault(key, []).append(record)
    plain = {(key[0], key[3]): _mean(runs, "mpjpe_mm") for key, runs in groups.items() if all(map(_is_plain, runs))}
    rows = []
    for key in sorted(groups):
        runs, base = groups[key], plain.get((key[0], key[3]))
        mpjpe = [_mpjpe(run) for run in runs]
        gain = f"{np.mean(mpjpe) / base - 1:+.1%}" if base and not _is_plain(runs[0]) else "-"
        spread = f"{np.ptp(mpjpe):.2f}" if len(runs) > 1 else "one seed"
        teachers = ", ".join(sorted({(run["training"].get("teacher") or {}).get("name", "-") for run in runs}))
        figures = [f"{np.mean(mpjpe):.2f}", spread, *(f"{_mean(runs, name):.2f}" for name in ("mpvpe_mm", "mrrpe_mm"))]
        rows.append([f"`{runs[0]['variant']}`", key[2], teachers, str(len(runs)), f"{key[3]:,}", *figures, gain])
    for name, figure in (("the mean pose", "mean_pose"), ("the previous image's pose", "previous_pose")):
        rows.append(["-", name, *["-"] * 3, f"{baselines[f'{figure}_mpjpe_mm']:.2f}", *["-"] * 4])
    return TEMPLATE.format(
        **baselines,
        rows="\n".join(f"| {' | '.join(row)} |" for row in rows),
        aims="\n".join((*_aims(records), *_gains(records), *_qat_losses(records))),
        hardware="; ".join(sorted({record["training"]["hardware"] or "not known" for record in records})),
    )


TEMPLATE = """# What training bought

<!-- made by python -m training.tools.run_results, do not edit -->

**Every figure is synthetic**: {dataset}, {n_images} test images that no run has seen, protocol `mcp-scaled`. \
None is comparable with a paper's.

| student | method | teacher | seeds | samples | MPJPE mm | spread mm | MPVPE mm | MRRPE mm | to labels alone |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
{rows}

Spread: largest minus smallest over the seeds. To labels alone: against the same student and samples without
a teacher. `further` went on from the shipped weights. The two predictors at the end look at no image: one
always says the train split's mean, the other what was right for the image before. `qat` is the network
that rounds as its int8 file does, fine-tuned from the shipped weights; its samples are the fine-tuning's.
The largest variants have no weights, for want of a GPU: nothing larger than `er-s` could be a teacher.
Presence, relational, relative translation and rotations, which gained less than seeds differ, are no terms any more.

## Aims

{aims}

Hardware: {hardware}.
"""


def _aims(records: Sequence[Record]) -> list[str]:
    """One line per student: its best distilled run over its teacher's own best run."""
    lines = []
    for student, aim in AIMS.items():
        distilled = [r for r in records if r["variant"] == student and r["training"].get("teacher")]
        begin = f"- `{student}` within {aim} times its teacher"
        if not distilled:
            lines.append(f"{begin}: not measured, no distilled run was made.")
            continue
        record = min(distilled, key=_mpjpe)
        teachers = [r for r in records if r["variant"] == record["training"]["teacher"]["name"]]
        if not teachers:
            lines.append(f"{begin}: not measured, the teacher has no record.")
            continue
        ratio = _mpjpe(record) / min(map(_mpjpe, teachers))
        lines.append(f"{begin} `{teachers[0]['variant']}`: {ratio:.2f}, {_verdict(ratio <= aim)}.")
    return lines


def _gains(records: Sequence[Record]) -> list[str]:
    """Distillation against labels alone: per student its longest pair of runs with the same samples and seed."""
    lines = []
    for student in AIMS:
        own = [r for r in records if r["variant"] == student]
        plain = {_run_of(r): r for r in own if _is_plain(r)}
        pairs = [(r, plain[_run_of(r)]) for r in own if r["training"].get("teacher") and _run_of(r) in plain]
        if not pairs:
            continue
        taught, alone = max(pairs, key=lambda pair: (pair[0]["training"]["samples"], -_mpjpe(pair[0])))
        gain = 1 - _mpjpe(taught) / _mpjpe(alone)
        lines.append(
            f"- `{student}` distilled ({taught['method']}) at least {GAIN_AIM:.0%} better than by labels alone, both "
            f"with {taught['training']['samples']:,} samples: {gain:.1%}, {_verdict(gain >= GAIN_AIM)}."
        )
    return lines


def _qat_losses(records: Sequence[Record]) -> list[str]:
    """What int8 loses after quantisation-aware training, against the float weights it began with."""
    lines = []
    for record in records:
        if record["training"].get("qat"):
            before_mm = record["float_mpjpe_mm"]
            loss_mm = _mpjpe(record) - before_mm
            lines.append(
                f"- `{record['variant']}` as int8 after quantisation-aware training within {QAT_AIM_MM} mm of its "
                f"float weights' {before_mm:.2f} mm: {loss_mm:+.2f} mm, {_verdict(loss_mm <= QAT_AIM_MM)}."
            )
    return lines


def read_records() -> tuple[list[Record], Record]:
    """All runs' records and the baselines."""
    content = {path.name: json.loads(path.read_text()) for path in sorted(RECORDS.glob("*.json"))}
    baselines = content.pop("baselines.json")
    return list(content.values()), baselines


def _write(path: Path, content: Record) -> Path:
    write_text_atomic(path, json.dumps(content, indent=2) + "\n")
    return path


def _verdict(met: bool) -> str:
    return "met" if met else "missed"


def _run_of(record: Record) -> tuple[int, int]:
    """What two runs must share to be compared."""
    return record["training"]["samples"], record["training"]["seed"]


def _is_plain(record: Record) -> bool:
    """Trained by labels alone, in float."""
    return not record["training"].get("teacher") and not record["training"].get("qat")


def _mpjpe(record: Record) -> float:
    return float(record["accuracy"]["mpjpe_mm"])


def _mean(records: Sequence[Record], figure: str) -> float:
    return float(np.mean([record["accuracy"][figure] for record in records]))


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line."""
    parser = CommandParser(__doc__)
    parser.add_argument("do", nargs="?", choices=("report", "ship", "add", "baselines"), default="report")
    parser.add_argument("--recipe", type=Path, help="ship, add: the recipe the run was trained by")
    parser.add_argument("--run-dir", type=Path, help="ship, add: the run's folder")
    parser.add_argument("--method", help="add: what it was trained by, 'scratch' without a teacher")
    parser.add_argument("--check", action="store_true", help="report: write nothing, fail where it is stale")
    args = parser.parse_args(arguments)
    of_run = args.do in ("ship", "add")
    given = tuple(value is not None for value in (args.recipe, args.run_dir, args.method))
    if given != (of_run, of_run, args.do == "add"):
        raise UserError("ship and add need --recipe and --run-dir, add --method too; nothing else takes them")
    if of_run:
        recipe = read_recipe(args.recipe)
        weights = args.run_dir / f"{recipe.variant}.safetensors"
        print(ship(recipe, weights) if args.do == "ship" else add(recipe, weights, args.method))
    elif args.do == "baselines":
        print(_write(RECORDS / "baselines.json", measure_baselines()))
    else:
        text = write_report(*read_records())
        if args.check:
            return 0 if REPORT.read_text() == text else 1
        write_text_atomic(REPORT, text)
        print(REPORT)
    return 0


if __name__ == "__main__":
    run_command(main)
