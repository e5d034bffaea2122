"""Tables of measured figures in README.md and docs/iphone.md.

python -m benchmarks.tools.readme_table [--check]   # --check only compares


Source: benchmarks/results/exports.json, a kept copy of the report.json of exports.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from runtime.errors import CommandParser, UserError, run_command
from runtime.files import write_text_atomic
from training.network import VARIANTS

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "exports.json"
CARDS = ROOT / "training" / "weights"
MADE_BY = "made by python -m benchmarks.tools.readme_table, do not edit"
VARIANT_COLUMNS = (
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
PACKAGE_COLUMNS = (
    "package",
    "MB",
    "of fp32 ONNX",
    "operations",
    "in fp32",
    "leave the Neural Engine otherwise",
    "apart from PyTorch, fp32 mm",
    "fp16 mm",
    "MPJPE mm (synthetic)",
    "lost to fp32 mm",
)
_KEPT = "fp32 arithmetic"  # of compress.coreml.neural_engine's rules

Facts = dict[str, Any]


def variants_table(results: Facts, shipped: Sequence[str]) -> str:
    """Of the README: each shipped variant as fp32 and int8, whole and pruned."""
    exports = [entry for entry in results["exports"].values() if len(entry["files"]) == 2]  # not for a package alone
    rows = [cells for name in shipped for entry in exports if entry["variant"] == name for cells in _file_rows(entry)]
    absent = ", ".join(f"`{name}`" for name in VARIANTS if name not in shipped)
    pruned = " and ".join(f"`{path.stem}`" for path in sorted((CARDS / "pruned-30").glob("*.safetensors")))
    images = next(iter(exports[0]["files"].values()))["accuracy"]["n_images"]
    note = (
        f"The mean pose has {exports[0]['mean_pose_mpjpe_mm']:.1f} mm. Accuracy is that of the files themselves, "
        f"through the runner, on {images} held-out synthetic images; time that of the network alone, one thread, "
        f"onnxruntime, on {results['machine']}, fp32 and int8 in turn in one run. Loss and gain are against the fp32 "
        "file of the same network. `-p30` lost 30 % of its multiply-accumulates and was trained on; such weights are "
        f"in `training/weights/pruned-30/` for {pruned}. None are shipped for {absent}: train them, or export with "
        "`--random-weights`."
    )
    return "\n".join([*_table(VARIANT_COLUMNS, rows), "", note])


def _file_rows(entry: Facts) -> Iterator[list[str]]:
    for file, facts in entry["files"].items():
        accuracy, speed = facts["accuracy"], facts["latency_ms"]
        ratio = speed.get("times_faster_than_fp32", {"median": 1.0})["median"]
        yield [
            f"`{entry['variant']}`",
            f"{entry['parameters_m']:.2f}",
            f"{entry['gmac']:.3f}",
            f"`{file}.onnx`",
            f"{facts['bytes'] / 1e6:.1f}",
            f"{accuracy['mpjpe_mm']:.2f}",
            _signed(accuracy["delta_vs_fp32_mm"]),
            f"{speed['median']:.1f}",
            f"{ratio:.2f}",
        ]


def packages_table(results: Facts) -> str:
    """Of docs/iphone.md: every Core ML package."""
    rows = []
    for entry in results["exports"].values():
        if (made := entry["formats"].get("coreml")) is None:
            continue
        fp32_file = next(facts for facts in entry["files"].values() if facts["precision"] == "fp32")
        rules = {rule["rule"]: sum(rule["kinds"].values()) for rule in made["package"]["leaves_neural_engine"]}
        rows.append(
            [
                f"`{made['file']}`",
                f"{made['bytes'] / 1e6:.1f}",
                f"{made['bytes'] / fp32_file['bytes']:.2f}",
                str(sum(made["package"]["operations"].values())),
                str(rules.pop(_KEPT, 0)),
                ", ".join(f"{count} by {rule}" for rule, count in rules.items()) or "none known",
                f"{made['parity']['fp32']['vertex_mm']:.4f}",
                f"{made['parity']['fp16']['present_hand_mm']:.2f}",
                f"{made['accuracy']['mpjpe_mm']:.2f}",
                _signed(made["accuracy"]["delta_vs_fp32_mm"]),
            ]
        )
    note = (
        "Apart from PyTorch: the worst vertex in fp32 arithmetic (at most 0.05 mm), the worst hand in fp16 (at most "
        "0.5 mm), over 64 crops, with the weights as the package stores them."
    )
    return "\n".join([*_table(PACKAGE_COLUMNS, rows), "", note])


def _signed(lost_mm: float) -> str:
    """No sign where nothing is left to see."""
    text = f"{lost_mm:+.2f}"
    return "0.00" if float(text) == 0 else text


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (columns, ["---"] * len(columns), *rows)]


def replace_table(page: str, name: str, table: str) -> str:
    """The page with the table between the marks of that name."""
    start, end = f"<!-- {name}: {MADE_BY} -->", f"<!-- end of {name} -->"
    if start not in page or end not in page:
        raise UserError(f"the page has lost the marks of its table: {start} and {end}")
    return page[: page.index(start)] + f"{start}\n{table}\n" + page[page.index(end) :]


def current_pages() -> dict[Path, str]:
    """Both pages as they should be."""
    results = json.loads(RESULTS.read_text())
    shipped = [name for name in reversed(VARIANTS) if (CARDS / f"{name}.json").exists()]
    readme, iphone = ROOT / "README.md", ROOT / "docs" / "iphone.md"
    return {
        readme: replace_table(readme.read_text(), "variants", variants_table(results, shipped)),
        iphone: replace_table(iphone.read_text(), "packages", packages_table(results)),
    }


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line; rewrite the pages, or say whether one is stale."""
    parser = CommandParser(__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 where a page is stale, change nothing")
    args = parser.parse_args(arguments)
    stale = {path: text for path, text in current_pages().items() if path.read_text() != text}
    for path, text in stale.items():
        if args.check:
            print(f"{path.relative_to(ROOT)} is stale: run python -m benchmarks.tools.readme_table")
        else:
            write_text_atomic(path, text)
    return int(bool(stale) and args.check)


if __name__ == "__main__":
    run_command(main)
