"""Write training/RESULTS.md, what training bought, from the records of training/results/.

    python -m training.tools.run_results add --recipe FILE --run-dir DIR --method "scratch"  # a run's record
    python -m training.tools.run_results baselines  # the predictors that learn nothing
    python -m training.tools.run_results [--check]  # write, or only compare, the report

A record is a card (see training.tools.publish) with the method's name; nothing in the report is typed by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import CommandParser, UserError, run_command
from runtime.files import write_text_atomic
from runtime.hand.hand_model import load_hand_models
from training.checkpoint import SHIPPED, read_facts
from training.data.dataset import SYNTHETIC, open_frames
from training.evaluation.baselines import mean_pose_mpjpe_mm, previous_pose_mpjpe_mm
from training.network import VARIANTS
from training.recipe import read_recipe
from training.tools.publish import TEST_IMAGES, make_card

FOLDER = Path(__file__).parents[1]
RECORDS = FOLDER / "results"
REPORT = FOLDER / "RESULTS.md"
BASELINES = "baselines.json"
SCRATCH = "scratch"
# Aims of the students: their MPJPE over their teacher's.
AIMS = {"er-s": 1.15, "er-xs": 1.35, "er-nano": 1.6}
QAT_AIM_MM = 0.05  # that int8 may lose against the float weights it was fine-tuned from
GAIN_AIM = 0.05  # of distillation over training from scratch, same student, same samples
COLUMNS = (
    "student",
    "method",
    "teacher",
    "seeds",
    "samples",
    "MPJPE mm",
    "spread mm",
    "MPVPE mm",
    "MRRPE mm",
    "to labels alone",
)

Record = dict[str, Any]


def write_report(records: Sequence[Record], baselines: Record) -> str:
    """The report as Markdown. Runs of one student, method and length are averaged over their seeds."""
    groups: dict[tuple[str, str, int], list[Record]] = {}
    for record in records:
        groups.setdefault((record["variant"], record["method"], record["training"]["samples"]), []).append(record)
    order = sorted(groups, key=lambda key: (list(VARIANTS).index(key[0]), key[1] != SCRATCH, key[1], key[2]))
    plain = {(v, s): _mean(groups[v, m, s], "mpjpe_mm") for v, m, s in groups if all(map(_is_plain, groups[v, m, s]))}
    lines = [
        "# What training bought",
        "",
        "<!-- made by python -m training.tools.run_results, do not edit -->",
        "",
        f"**Every figure is synthetic**: {baselines['dataset']}, {baselines['n_images']} test images that no run has "
        "seen, protocol `mcp-scaled`. None is comparable with a paper's.",
        "",
        _row(COLUMNS),
        _row(["---"] * len(COLUMNS)),
    ]
    for key in order:
        variant, method, samples = key
        runs = groups[key]
        mpjpe = [run["accuracy"]["mpjpe_mm"] for run in runs]
        base = plain.get((variant, samples))
        gain = f"{_mean(runs, 'mpjpe_mm') / base - 1:+.1%}" if base and not _is_plain(runs[0]) else "-"
        teachers = sorted({(run["training"].get("teacher") or {}).get("name", "-") for run in runs})
        lines.append(
            _row(
                (
                    f"`{variant}`",
                    method,
                    ", ".join(teachers),
                    str(len(runs)),
                    f"{samples:,}",
                    f"{np.mean(mpjpe):.2f}",
                    f"{np.ptp(mpjpe):.2f}" if len(runs) > 1 else "one seed",
                    f"{_mean(runs, 'mpvpe_mm'):.2f}",
                    f"{_mean(runs, 'mrrpe_mm'):.2f}",
                    gain,
                )
            )
        )
    lines += [
        _row(("-", "the mean pose", *["-"] * 3, f"{baselines['mean_pose_mpjpe_mm']:.2f}", *["-"] * 4)),
        _row(("-", "the previous image's pose", *["-"] * 3, f"{baselines['previous_pose_mpjpe_mm']:.2f}", *["-"] * 4)),
        "",
        "Spread: largest minus smallest over the seeds. To labels alone: against the same student and samples without",
        "a teacher. `further` went on from the shipped weights. The two predictors at the end look at no image: one",
        "always says the train split's mean, the other what was right for the image before. `qat` is the network",
        "that rounds as its int8 file does, fine-tuned from the shipped weights; its samples are the fine-tuning's.",
        "The largest variants have no weights, for want of a GPU: nothing larger than `er-s` could be a teacher.",
        "",
        "## Aims",
        "",
        *_aims(records),
        "",
        "Hardware: " + "; ".join(sorted({record["training"]["hardware"] for record in records})) + ".",
        "",
    ]
    return "\n".join(lines)


def _aims(records: Sequence[Record]) -> list[str]:
    """One line per student: its best distilled run over its teacher's own best run."""
    best = {v: min((r for r in records if r["variant"] == v), key=_mpjpe, default=None) for v in VARIANTS}
    lines = []
    for student, aim in AIMS.items():
        distilled = [r for r in records if r["variant"] == student and r["training"].get("teacher")]
        if not distilled:
            lines.append(f"- `{student}` within {aim} times its teacher: not measured, no distilled run was made.")
            continue
        record = min(distilled, key=_mpjpe)
        teacher = best.get(record["training"]["teacher"]["name"])
        if teacher is None:
            lines.append(f"- `{student}` within {aim} times its teacher: not measured, the teacher has no record.")
            continue
        ratio = _mpjpe(record) / _mpjpe(teacher)
        verdict = "met" if ratio <= aim else "missed"
        lines.append(f"- `{student}` within {aim} times its teacher `{teacher['variant']}`: {ratio:.2f}, {verdict}.")
    return [*lines, *_gains(records), *_qat_losses(records)]


def _gains(records: Sequence[Record]) -> list[str]:
    """Distillation against labels alone: per student its longest pair of runs with the same number of samples."""
    lines = []
    for student in AIMS:
        pairs = [
            (taught, plain)
            for taught in records
            for plain in records
            if taught["variant"] == plain["variant"] == student
            and taught["training"].get("teacher")
            and _is_plain(plain)
            and _run_of(taught) == _run_of(plain)
        ]
        if not pairs:
            continue
        taught, plain = max(pairs, key=lambda pair: (pair[0]["training"]["samples"], -_mpjpe(pair[0])))
        gain = 1 - _mpjpe(taught) / _mpjpe(plain)
        lines.append(
            f"- `{student}` distilled ({taught['method']}) at least {GAIN_AIM:.0%} better than by labels alone, both "
            f"with {taught['training']['samples']:,} samples: {gain:.1%}, {'met' if gain >= GAIN_AIM else 'missed'}."
        )
    return lines


def _qat_losses(records: Sequence[Record]) -> list[str]:
    """What int8 loses after quantisation-aware training, against the float weights it began with."""
    lines = []
    for record in records:
        if not record["training"].get("qat"):
            continue
        loss = _mpjpe(record) - record["float_mpjpe_mm"]
        lines.append(
            f"- `{record['variant']}` as int8 after quantisation-aware training within {QAT_AIM_MM} mm of its float "
            f"weights' {record['float_mpjpe_mm']:.2f} mm: {loss:+.2f} mm, {'met' if loss <= QAT_AIM_MM else 'missed'}."
        )
    return lines


def _run_of(record: Record) -> tuple[int, int]:
    """What two runs must share to be compared."""
    return record["training"]["samples"], record["training"]["seed"]


def add_record(recipe_path: Path, run_dir: Path, method: str) -> Path:
    """Measure a run's weights on the test split and keep the record; gives its path."""
    if not re.fullmatch(r"[a-z0-9 +.,-]{1,60}", method):
        raise UserError(f"--method {method!r}: give up to 60 small letters, digits, blanks or + . , -")
    recipe = read_recipe(recipe_path)
    weights = run_dir / f"{recipe.variant}.safetensors"
    card = make_card(weights, recipe.for_qat() if read_facts(weights).qat else recipe)
    facts = card["training"]
    slug = re.sub(r"[ ,+]+", "-", method)
    name = f"{recipe.variant}_{slug}_{facts['samples']}_seed{facts['seed']}.json"
    record = {"method": method, **card}
    if facts["qat"]:  # what it began with: --init's default
        record["float_mpjpe_mm"] = json.loads((SHIPPED / f"{recipe.variant}.json").read_text())["accuracy"]["mpjpe_mm"]
    write_text_atomic(RECORDS / name, json.dumps(record, indent=2) + "\n")
    return RECORDS / name


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


def read_records(folder: Path = RECORDS) -> tuple[list[Record], Record]:
    """All runs' records and the baselines; a UserError where one cannot be read."""
    try:
        content = {path.name: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
        baselines = content.pop(BASELINES)
    except KeyError:
        raise UserError(f"{folder} has no {BASELINES}: run python -m training.tools.run_results baselines") from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the records in {folder}: {error}") from error
    return list(content.values()), baselines


def _is_plain(record: Record) -> bool:
    """Trained by labels alone, in float."""
    return not record["training"].get("teacher") and not record["training"].get("qat")


def _mpjpe(record: Record) -> float:
    return float(record["accuracy"]["mpjpe_mm"])


def _mean(records: Sequence[Mapping[str, Any]], figure: str) -> float:
    return float(np.mean([record["accuracy"][figure] for record in records]))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line."""
    parser = CommandParser(__doc__)
    parser.add_argument("do", nargs="?", choices=("report", "add", "baselines"), default="report")
    parser.add_argument("--recipe", type=Path, help="add: the recipe the run was trained by")
    parser.add_argument("--run-dir", type=Path, help="add: the run's folder")
    parser.add_argument("--method", help=f"add: what it was trained by, '{SCRATCH}' without a teacher")
    parser.add_argument("--check", action="store_true", help="report: write nothing, fail where it is stale")
    args = parser.parse_args(arguments)
    given = (args.recipe, args.run_dir, args.method)
    if args.do == "add":
        if None in given:
            raise UserError("add needs --recipe, --run-dir and --method")
        print(add_record(*given))
        return 0
    if any(value is not None for value in given):
        raise UserError(f"--recipe, --run-dir and --method have no effect with '{args.do}'")
    if args.do == "baselines":
        write_text_atomic(RECORDS / BASELINES, json.dumps(measure_baselines(), indent=2) + "\n")
        return 0
    text = write_report(*read_records())
    if args.check:
        return 0 if REPORT.is_file() and REPORT.read_text() == text else 1
    write_text_atomic(REPORT, text)
    print(REPORT)
    return 0


if __name__ == "__main__":
    run_command(main)
