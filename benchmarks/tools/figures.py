"""Write every measured figure anew where it stands, on README.md, docs/*.md and the models' cards: make figures

A page marks the places: <!-- NAME: made by make figures, do not edit -->, what is made, <!-- end -->. Facts:
training/weights, and benchmarks/results: records.jsonl, web.jsonl, and exports.json, a kept copy of the report.json of
`make packages`. Rows of other weights than the shipped ones are left out.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.page.answer import file_name
from benchmarks.page.shipped import ENGINES, RESULTS, ROOT, cards, on_photographs, photographs, shipped_rows
from benchmarks.page.small_tables import noted_ms
from benchmarks.records.columns import COLUMNS, cpu_class
from benchmarks.records.record import Record
from benchmarks.tools.model_cards import current_cards
from runtime.errors import CommandParser, run_command
from runtime.files import write_text_atomic

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
MARKS = re.compile(r"(<!-- (\w+): made by make figures, do not edit -->\n)(.*?)(<!-- end -->)", re.S)
SAME_MM = 0.005  # a card's digits


def main(arguments: list[str] | None = None) -> int:
    """Write them."""
    CommandParser(__doc__).parse_args(arguments)
    for path, text in current_pages().items():
        write_text_atomic(path, text)
    return 0


def current_pages() -> dict[Path, str]:
    """Return all pages and cards as they should be."""
    pages = {path: MARKS.sub(_made, path.read_text(encoding="utf-8")) for path in PAGES}
    return pages | current_cards()


def _made(place: re.Match[str]) -> str:
    return f"{place[1]}{MADE[place[2]]()}\n{place[4]}"


def variants_table() -> str:
    """Make the README's: each shipped variant in every precision."""
    rows, shown = [], shipped_rows()
    for record in shown:
        seen = on_photographs(record)
        share = f"{seen['boxed']['pck']:.2f}" if seen else ""
        network = f"`{record.variant}`", f"{record.artifact.params_m or 0:.2f}", f"{record.artifact.gmac or 0:.3f}"
        file = f"`{file_name(record)}`", *_texts(record, "size_mb", "mpjpe_mm", "delta_vs_fp32_mm")
        rows.append((*network, *file, share, noted_ms(record), *_texts(record, "times_faster")))
    heads = ("variant", "parameters M", "GMAC", "file", "MB", "MPJPE mm (synthetic)", "lost to fp32 mm", "photographs")
    return _table(
        (*heads, "ms", "gain"),
        rows,
        f"MPJPE: of the files in onnxruntime, {_images(shown)} (the mean pose, which never looks: {_mean_pose_mm()} "
        "mm). Photographs: share of joints within a fifth of the hand's size, box given, on "
        f"{photographs()['with_hands']} that are kept aside. {_timed(shown)}; gain: times as fast as fp32.",
    )


def engine_table(kind: str) -> str:
    """Put an engine's int8 files beside our own int8 and fp32 ONNX files; kind: of `ENGINES`."""
    rows, theirs, onnx = [], shipped_rows(kind), shipped_rows()
    ours = {(record.variant, record.artifact.precision): record for record in onnx}
    for record in theirs:
        fp32, int8 = (ours.get((record.variant, precision)) for precision in ("fp32", "int8"))
        if record.artifact.precision == "int8" and fp32 and int8:
            cells = [(*_texts(row, "size_mb", "delta_vs_fp32_mm"), noted_ms(row)) for row in (record, int8)]
            rows.append((f"`{record.variant}`", *cells[0], *cells[1], noted_ms(fp32)))
    heads = (f"{ENGINES[kind]} int8: MB", "lost mm", "ms", "own int8 in onnxruntime: MB", "lost mm", "ms")
    browsers = {f"; {ENGINES[kind]} in a run of its own, in {record.device.name}" for record in theirs if kind == "web"}
    return _table(
        ("variant", *heads, "fp32 in onnxruntime: ms"),
        rows,
        f"Lost: MPJPE against the fp32 ONNX file, in synthetic millimetres, over {_images([*theirs, *onnx])}. "
        f"{_timed(onnx)}{''.join(sorted(browsers))}. {ENGINES[kind]} {theirs[0].runtime.version if theirs else ''}.",
    )


def packages_table() -> str:
    """Make that of docs/iphone.md: every Core ML package, and why a variant has none."""
    rows: list[tuple[str, ...]] = []
    others, failed = [], []
    exports = json.loads((RESULTS / "exports.json").read_text(encoding="utf-8"))["exports"]
    for entry in (entry for entry in exports.values() if "coreml" in entry["formats"]):
        made, variant = entry["formats"]["coreml"], entry["variant"]
        fp32_file = next(facts for facts in entry["files"].values() if facts["precision"] == "fp32")
        if abs(fp32_file["accuracy"]["mpjpe_mm"] - cards()[variant]["accuracy"]["mpjpe_mm"]) > SAME_MM:
            others.append(f"`{variant}`")
        elif made["reasons"] or "accuracy" not in made:
            failed.append(f"`{variant}`: {'; '.join(made['reasons'])}")
        else:
            lost = f"{made['accuracy']['delta_vs_fp32_mm']:+.2f}".replace("+0.00", "0.00").replace("-0.00", "0.00")
            apart = f"{made['parity']['fp32']['vertex_mm']:.4f}", f"{made['parity']['fp16']['present_hand_mm']:.2f}"
            size = f"{made['bytes'] / 1e6:.1f}", f"{made['bytes'] / fp32_file['bytes']:.2f}"
            rows.append((f"`{made['file']}`", *size, *apart, f"{made['accuracy']['mpjpe_mm']:.2f}", lost))
    heads = ("package", "MB", "of fp32 ONNX", "apart from PyTorch, fp32 mm", "fp16 mm")
    return _table(
        (*heads, "MPJPE mm (synthetic)", "lost to fp32 mm"),
        rows,
        "Apart from PyTorch: the worst vertex in fp32 (at most 0.05 mm), the worst hand in fp16 (at most 0.5 mm), over "
        "64 crops, with the weights as stored; of a hand that a quarter of a grey level of noise moves by k times 0.5 "
        "mm, k > 1, a k-th counts."
        + (f" No package: {', '.join(failed)}." if failed else "")
        + (f" Of its present weights not made yet: {', '.join(others)}." if others else ""),
    )


def weights_table() -> str:
    """Make the first of docs/weights.md: what the shipped weights are worth."""
    facts, rows = photographs(), []
    measured = ("accuracy", "accuracy_v1")
    for variant, card in cards().items():
        seen = facts["variants"][variant]
        shares = [seen[box][what] for box in ("boxed", "found") for what in ("pck", "presence")]
        errors = [f"{card[key]['mpjpe_mm']:.1f}" for key in measured]
        rows.append((f"`{variant}`", *errors, *(f"{share:.2f}" for share in [*shares, seen["none_right"]])))
    datasets = [f"{card[key]['dataset'].partition(' (')[0]}, mm" for key in measured]
    shares_of = ("joints, box given", "named right", "joints, box found", "named right", "without hands: none found")
    return _table(
        ("", *datasets, *shares_of),
        [*rows, ("the mean pose", _mean_pose_mm(), *[""] * 6)],
        f"Millimetres: MPJPE of the networks in fp32, synthetic. Photographs, {facts['measured']}: the int8 files on "
        f"{facts['with_hands']} with {facts['hands']} hands and {facts['without_hands']} without. Joints: the share "
        "within 0.2 of a hand's box; named right: that of pictures whose hands are; box: given, or the finder's.",
    )


def photographs_text() -> str:
    """Say in a paragraph of the README what the int8 files find in whole photographs."""
    facts = photographs()
    found = sorted(facts["variants"].items(), key=lambda item: -item[1]["found"]["pck"])
    shares = ", ".join(f"{seen['found']['pck']:.2f} (`{variant}`)" for variant, seen in found)
    empty = min((seen["none_right"] for _, seen in found), default=0.0)
    return textwrap.fill(
        f"Measured on {facts['with_hands']} whole pictures with {facts['hands']} hands, never trained on, though the "
        "runner's constants were chosen with them in view: the int8 files put "
        f"{shares} of the joints within a fifth of the hand's size. Of {facts['without_hands']} pictures without hands "
        f"{'all' if empty == 1 else f'at least {empty:.0%}'} stay empty.",
        120,
    )


def _texts(record: Record, *keys: str) -> tuple[str, ...]:
    return tuple(COLUMNS[key].text(record) for key in keys)


def _images(rows: Sequence[Record]) -> str:
    """Say over how many images of which set the rows' errors are."""
    counts: dict[str, dict[str, None]] = {}
    for accuracy in (row.accuracy for row in rows if row.accuracy):
        counts.setdefault(accuracy.dataset, {})[str(accuracy.n_images)] = None
    return "; ".join(f"{' and '.join(sizes)} held-out images of {dataset}" for dataset, sizes in counts.items())


def _timed(rows: Sequence[Record]) -> str:
    found = {f"{cpu_class(row.device)} ({row.device.name.rpartition('(')[2].rstrip(')')})" for row in rows}
    machines = " and ".join(sorted(found))
    return f"ms: the network alone, one thread, all in turn in one run, on {machines}; ~: may not repeat"


def _mean_pose_mm() -> str:
    return f"{next(iter(cards().values()))['mean_pose_mpjpe_mm']:.1f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    made = "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", textwrap.fill(note, 120)])
    return made if rows else "Not measured with the shipped weights yet."


MADE: dict[str, Callable[[], str]] = {
    "variants": variants_table,
    "photographs": photographs_text,
    "weights": weights_table,
    "packages": packages_table,
    **{kind: partial(engine_table, kind) for kind in ("openvino", "litert", "web")},
}

if __name__ == "__main__":
    run_command(main)
