"""Tables of measured figures in README.md and docs/iphone.md: python -m benchmarks.tools.readme_table

Sources: benchmarks/results/records.jsonl and, of Core ML packages, benchmarks/results/exports.json, a kept copy of the
report.json of `make packages`; training/weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.page.answer import file_name
from benchmarks.page.rows import is_pruned
from benchmarks.page.shipped import cards, on_photographs, photographs
from benchmarks.page.small_tables import noted_ms
from benchmarks.records.columns import COLUMNS, cpu_class
from benchmarks.records.record import Record, read_records
from runtime.files import write_text_atomic

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
README, IPHONE = ROOT / "README.md", ROOT / "docs" / "iphone.md"
MADE_BY = "made by python -m benchmarks.tools.readme_table, do not edit"
VARIANTS_HEAD = (
    "variant | parameters M | GMAC | file | MB | MPJPE mm (synthetic) | lost to fp32 mm | photographs | ms | gain"
)
CELLS = ("size_mb", "mpjpe_mm", "delta_vs_fp32_mm")
PACKAGES_HEAD = (
    "package | MB | of fp32 ONNX | apart from PyTorch, fp32 mm | fp16 mm | MPJPE mm (synthetic) | lost to fp32 mm"
)
PACKAGE_NOTE = (
    "Apart from PyTorch: the worst vertex in fp32 arithmetic (at most 0.05 mm), the worst hand in fp16 (at most 0.5 "
    "mm), over 64 crops, with the weights as the package stores them."
)


def shipped_rows() -> dict[str, list[Record]]:
    """Return the committed rows of whole networks, ONNX in onnxruntime on one thread, by variant, lightest first."""
    found: dict[str, list[Record]] = {name: [] for name in cards()}
    for record in read_records(RESULTS / "records.jsonl"):
        is_file = record.kind == "artifact" and record.artifact.format == "onnx" and not is_pruned(record)
        if is_file and record.runtime.threads == 1 and record.runtime.name == "onnxruntime" and record.latency_ms:
            found.setdefault(str(record.variant), []).append(record)
    return {variant: rows for variant, rows in found.items() if rows}


def variants_table() -> str:
    """Make the README's: each shipped variant in every precision."""
    by_variant = shipped_rows()
    rows = []
    for variant, records in by_variant.items():
        for record in records:
            seen = on_photographs(record)
            network = f"`{variant}` | {record.artifact.params_m or 0:.2f} | {record.artifact.gmac or 0:.3f}"
            measured = " | ".join(COLUMNS[key].text(record) for key in CELLS)
            ratio = COLUMNS["times_faster"].text(record)
            share = f"{seen['boxed']['pck']:.2f}" if seen else ""
            rows.append(f"{network} | `{file_name(record)}` | {measured} | {share} | {noted_ms(record)} | {ratio}")
    first = next(iter(by_variant.values()))[0]
    assert first.accuracy is not None
    facts, device = photographs(), first.device
    mean = next(iter(cards().values()))
    same = mean["accuracy"]["dataset"] == first.accuracy.dataset
    blind = f" (the mean pose, which never looks: {mean['mean_pose_mpjpe_mm']:.1f} mm)" if same else ""
    note = (
        f"MPJPE: of the files, {first.accuracy.n_images} held-out images of {first.accuracy.dataset}{blind}. "
        f"Photographs: share of joints within a fifth of the hand's size, box given, on {facts['with_hands']} that are "
        f"kept aside. ms: the network alone, one thread, onnxruntime, all in turn in one run, on {cpu_class(device)} "
        f"({device.name.rpartition('(')[2].rstrip(')')}); gain: times as fast as fp32; ~: may not repeat."
    )
    return _table(VARIANTS_HEAD, rows, note)


def packages_table() -> str:
    """Make that of docs/iphone.md: every Core ML package."""
    rows = []
    exports = json.loads((RESULTS / "exports.json").read_text(encoding="utf-8"))["exports"]
    for entry in (entry for entry in exports.values() if "accuracy" in entry["formats"].get("coreml", {})):
        made = entry["formats"]["coreml"]
        fp32_file = next(facts for facts in entry["files"].values() if facts["precision"] == "fp32")
        lost = f"{made['accuracy']['delta_vs_fp32_mm']:+.2f}".replace("+0.00", "0.00").replace("-0.00", "0.00")
        apart = f"{made['parity']['fp32']['vertex_mm']:.4f} | {made['parity']['fp16']['present_hand_mm']:.2f}"
        size = f"{made['bytes'] / 1e6:.1f} | {made['bytes'] / fp32_file['bytes']:.2f}"
        rows.append(f"`{made['file']}` | {size} | {apart} | {made['accuracy']['mpjpe_mm']:.2f} | {lost}")
    return _table(PACKAGES_HEAD, rows, PACKAGE_NOTE)


def _table(head: str, rows: list[str], note: str) -> str:
    lines = [head, " | ".join("---" for _ in head.split(" | ")), *rows]
    return "\n".join([*(f"| {line} |" for line in lines), "", note])


def current_pages() -> dict[Path, str]:
    """Return both pages as they should be, with the tables between their marks."""
    pages: dict[Path, Any] = {}
    for path, name, make in ((README, "variants", variants_table), (IPHONE, "packages", packages_table)):
        before, start, rest = path.read_text(encoding="utf-8").partition(f"<!-- {name}: {MADE_BY} -->\n")
        after = rest[rest.index(f"\n<!-- end of {name} -->") :]
        pages[path] = before + start + make() + after
    return pages


if __name__ == "__main__":
    for page, content in current_pages().items():
        write_text_atomic(page, content)
