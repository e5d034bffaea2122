"""Tables of measured figures in README.md and docs/iphone.md.

python -m benchmarks.tools.readme_table [--check]   # --check only compares

Source: benchmarks/results/exports.json, a kept copy of the report.json of exports.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime.errors import CommandParser, UserError, run_command
from runtime.files import write_text_atomic
from training.network import VARIANTS

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "exports.json"
CARDS = ROOT / "training" / "weights"
MADE_BY = "made by python -m benchmarks.tools.readme_table, do not edit"
FP32_ARITHMETIC = "fp32 arithmetic"  # of compress.coreml.neural_engine's rules

Facts = dict[str, Any]
Rows = list[dict[str, str]]  # cells by their column, in its order


def variants_table(results: Facts, shipped: Sequence[str]) -> str:
    """Make the README's: each shipped variant as fp32 and int8, whole and pruned."""
    exports = [entry for entry in results["exports"].values() if len(entry["files"]) == 2]  # not for a package alone
    rows: Rows = []
    for entry in (entry for name in shipped for entry in exports if entry["variant"] == name):
        for file, facts in entry["files"].items():
            speed = facts["latency_ms"]
            ratio = speed.get("times_faster_than_fp32", {"median": 1.0})["median"]
            rows.append(
                {
                    "variant": f"`{entry['variant']}`",
                    "parameters M": f"{entry['parameters_m']:.2f}",
                    "GMAC": f"{entry['gmac']:.3f}",
                    "file": f"`{file}.onnx`",
                    "MB": f"{facts['bytes'] / 1e6:.1f}",
                    "MPJPE mm (synthetic)": f"{facts['accuracy']['mpjpe_mm']:.2f}",
                    "lost to fp32 mm": _signed(facts["accuracy"]["delta_vs_fp32_mm"]),
                    "ms": f"{speed['median']:.1f}",
                    "times faster than fp32": f"{ratio:.2f}",
                }
            )
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
    return _table(rows, note)


def packages_table(results: Facts) -> str:
    """Make that of docs/iphone.md: every Core ML package."""
    rows: Rows = []
    for entry in results["exports"].values():
        if (made := entry["formats"].get("coreml")) is None:
            continue
        fp32_file = next(facts for facts in entry["files"].values() if facts["precision"] == "fp32")
        rules = {rule["rule"]: sum(rule["kinds"].values()) for rule in made["package"]["leaves_neural_engine"]}
        in_fp32 = rules.pop(FP32_ARITHMETIC, 0)
        rows.append(
            {
                "package": f"`{made['file']}`",
                "MB": f"{made['bytes'] / 1e6:.1f}",
                "of fp32 ONNX": f"{made['bytes'] / fp32_file['bytes']:.2f}",
                "operations": str(sum(made["package"]["operations"].values())),
                "in fp32": str(in_fp32),
                "leave the Neural Engine otherwise": ", ".join(f"{n} by {rule}" for rule, n in rules.items())
                or "none known",
                "apart from PyTorch, fp32 mm": f"{made['parity']['fp32']['vertex_mm']:.4f}",
                "fp16 mm": f"{made['parity']['fp16']['present_hand_mm']:.2f}",
                "MPJPE mm (synthetic)": f"{made['accuracy']['mpjpe_mm']:.2f}",
                "lost to fp32 mm": _signed(made["accuracy"]["delta_vs_fp32_mm"]),
            }
        )
    note = (
        "Apart from PyTorch: the worst vertex in fp32 arithmetic (at most 0.05 mm), the worst hand in fp16 (at most "
        "0.5 mm), over 64 crops, with the weights as the package stores them."
    )
    return _table(rows, note)


def _signed(lost_mm: float) -> str:
    """Return no sign where nothing is left to see."""
    text = f"{lost_mm:+.2f}"
    return "0.00" if float(text) == 0 else text


def _table(rows: Rows, note: str) -> str:
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *(list(row.values()) for row in rows)]
    return "\n".join([*("| " + " | ".join(line) + " |" for line in lines), "", note])


def replace_table(page: str, name: str, table: str) -> str:
    """Return the page with the table between the marks of that name."""
    start, end = f"<!-- {name}: {MADE_BY} -->", f"<!-- end of {name} -->"
    if start not in page or end not in page:
        raise UserError(f"the page has lost the marks of its table: {start} and {end}")
    return page[: page.index(start)] + f"{start}\n{table}\n" + page[page.index(end) :]


def current_pages() -> dict[Path, str]:
    """Return both pages as they should be."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    shipped = [name for name in reversed(VARIANTS) if (CARDS / f"{name}.json").exists()]
    readme, iphone = ROOT / "README.md", ROOT / "docs" / "iphone.md"
    return {
        readme: replace_table(readme.read_text(encoding="utf-8"), "variants", variants_table(results, shipped)),
        iphone: replace_table(iphone.read_text(encoding="utf-8"), "packages", packages_table(results)),
    }


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line; rewrite the pages, or say whether one is stale."""
    parser = CommandParser(__doc__ or "")
    parser.add_argument("--check", action="store_true", help="exit 1 where a page is stale, change nothing")
    args = parser.parse_args(arguments)
    stale = {path: text for path, text in current_pages().items() if path.read_text(encoding="utf-8") != text}
    for path, text in stale.items():
        if args.check:
            print(f"{path.relative_to(ROOT)} is stale: run python -m benchmarks.tools.readme_table")
        else:
            write_text_atomic(path, text)
    return int(bool(stale) and args.check)


if __name__ == "__main__":
    run_command(main)
