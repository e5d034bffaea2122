"""Tables of measured figures in README.md and docs/iphone.md: python -m benchmarks.tools.readme_table

Source: benchmarks/results/exports.json, a kept copy of the report.json of exports.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runtime.files import write_text_atomic
from training.network import VARIANTS

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "exports.json"
CARDS = ROOT / "training" / "weights"
README, IPHONE = ROOT / "README.md", ROOT / "docs" / "iphone.md"
MADE_BY = "made by python -m benchmarks.tools.readme_table, do not edit"
VARIANTS_HEAD = (
    "variant | parameters M | GMAC | file | MB | MPJPE mm (synthetic) | lost to fp32 mm | ms | times faster than fp32"
)
PACKAGES_HEAD = (
    "package | MB | of fp32 ONNX | apart from PyTorch, fp32 mm | fp16 mm | MPJPE mm (synthetic) | lost to fp32 mm"
)
PACKAGE_NOTE = (
    "Apart from PyTorch: the worst vertex in fp32 arithmetic (at most 0.05 mm), the worst hand in fp16 (at most 0.5 "
    "mm), over 64 crops, with the weights as the package stores them."
)


def variants_table(results: dict[str, Any]) -> str:
    """Make the README's: each shipped variant as fp32 and int8, whole and pruned."""
    shipped = [name for name in reversed(VARIANTS) if (CARDS / f"{name}.json").exists()]
    exports = [entry for entry in results["exports"].values() if len(entry["files"]) == 2]  # not for a package alone
    rows = []
    for entry in (entry for name in shipped for entry in exports if entry["variant"] == name):
        network = f"`{entry['variant']}` | {entry['parameters_m']:.2f} | {entry['gmac']:.3f}"
        for file, facts in entry["files"].items():
            speed = facts["latency_ms"]
            ratio = speed.get("times_faster_than_fp32", {"median": 1.0})["median"]
            rows.append(f"{network} | `{file}.onnx` | {_measured(facts)} | {speed['median']:.1f} | {ratio:.2f}")
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
    return _table(VARIANTS_HEAD, rows, note)


def packages_table(results: dict[str, Any]) -> str:
    """Make that of docs/iphone.md: every Core ML package."""
    rows = []
    for entry in (entry for entry in results["exports"].values() if "coreml" in entry["formats"]):
        made = entry["formats"]["coreml"]
        fp32_file = next(facts for facts in entry["files"].values() if facts["precision"] == "fp32")
        size, error, lost = _measured(made).split(" | ")
        apart = f"{made['parity']['fp32']['vertex_mm']:.4f} | {made['parity']['fp16']['present_hand_mm']:.2f}"
        share = f"{made['bytes'] / fp32_file['bytes']:.2f}"
        rows.append(f"`{made['file']}` | {size} | {share} | {apart} | {error} | {lost}")
    return _table(PACKAGES_HEAD, rows, PACKAGE_NOTE)


def _measured(facts: dict[str, Any]) -> str:
    """Return size, error and loss of one file."""
    accuracy = facts["accuracy"]
    lost = f"{accuracy['delta_vs_fp32_mm']:+.2f}".replace("+0.00", "0.00").replace("-0.00", "0.00")
    return f"{facts['bytes'] / 1e6:.1f} | {accuracy['mpjpe_mm']:.2f} | {lost}"


def _table(head: str, rows: list[str], note: str) -> str:
    lines = [head, " | ".join("---" for _ in head.split(" | ")), *rows]
    return "\n".join([*(f"| {line} |" for line in lines), "", note])


def current_pages() -> dict[Path, str]:
    """Return both pages as they should be, with the tables between their marks."""
    results = json.loads(RESULTS.read_text())
    pages = {}
    for path, name, make in ((README, "variants", variants_table), (IPHONE, "packages", packages_table)):
        before, start, rest = path.read_text().partition(f"<!-- {name}: {MADE_BY} -->\n")
        after = rest[rest.index(f"\n<!-- end of {name} -->") :]
        pages[path] = before + start + make(results) + after
    return pages


if __name__ == "__main__":
    for page, content in current_pages().items():
        write_text_atomic(page, content)
