"""The README's table of variants, from measured figures: `python -m benchmarks.table` (`--check` only compares).

Sources: the cards of the shipped weights, and benchmarks/results/exports.json, a kept copy of an export's report.json.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime.errors import CommandParser, UserError, run_command
from runtime.files import write_text_atomic
from training.network import VARIANTS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results" / "exports.json"
CARDS = ROOT / "training" / "weights"
START = "<!-- variants: made by python -m benchmarks.table, do not edit -->"
END = "<!-- end of variants -->"
COLUMNS = (
    "variant",
    "parameters M",
    "GMAC",
    "file",
    "MB",
    "MPJPE mm (synthetic)",
    "lost to fp32 mm",
    "ms",
    "times faster than fp32",
)


def make_table(results: dict[str, Any], cards: dict[str, dict[str, Any]]) -> str:
    """The Markdown between the README's marks."""
    rows = [_row(COLUMNS), _row(["---"] * len(COLUMNS))]
    shipped = [(VARIANTS[name], card) for name, card in cards.items()]
    entries = [results["exports"][f"{variant.name}_{variant.crop_px}_int8"] for variant, _ in shipped]
    for (variant, card), entry in zip(shipped, entries, strict=True):
        for file, facts in entry["files"].items():
            accuracy, speed = facts["accuracy"], facts["latency_ms"]
            ratio = speed.get("times_faster_than_fp32", {"median": 1.0})["median"]
            network = (f"`{variant.name}`", f"{card['parameters_m']:.2f}", f"{card['gmac']:.3f}")
            errors = (f"{accuracy['mpjpe_mm']:.2f}", f"{accuracy['delta_vs_fp32_mm']:.2f}")
            times = (f"{speed['median']:.1f}", f"{ratio:.2f}")
            rows.append(_row((*network, f"`{file}.onnx`", f"{facts['bytes'] / 1e6:.1f}", *errors, *times)))
    absent = ", ".join(f"`{name}`" for name in VARIANTS if name not in cards)
    mean_pose_mm = entries[0]["mean_pose_mpjpe_mm"]
    images = next(iter(entries[0]["files"].values()))["accuracy"]["n_images"]
    note = (
        f"The mean pose has {mean_pose_mm:.1f} mm. Accuracy is that of the files themselves, through the runner, on "
        f"{images} held-out synthetic images; time that of the network alone, one thread, onnxruntime, on "
        f"{results['machine']}, fp32 and int8 in turn in one run. No weights are shipped for {absent}: train them, or "
        "export with `--random-weights`."
    )
    return "\n".join([START, *rows, "", note, END])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def replace_table(readme: str, table: str) -> str:
    """The README with the table between its marks."""
    if START not in readme or END not in readme:
        raise UserError(f"{README} has lost the marks of its table: {START} and {END}")
    return readme[: readme.index(START)] + table + readme[readme.index(END) + len(END) :]


def current_readme() -> str:
    """The README as it should be."""
    cards = {path.stem: json.loads(path.read_text()) for path in sorted(CARDS.glob("*.json"))}
    return replace_table(README.read_text(), make_table(json.loads(RESULTS.read_text()), cards))


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line; rewrite the README, or say whether it is stale."""
    parser = CommandParser(__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 where the README is stale, change nothing")
    args = parser.parse_args(arguments)
    wanted = current_readme()
    if args.check:
        stale = README.read_text() != wanted
        print(
            "the README's table is stale: run python -m benchmarks.table" if stale else "the README's table is current"
        )
        return int(stale)
    write_text_atomic(README, wanted)
    return 0


if __name__ == "__main__":
    run_command(main)
