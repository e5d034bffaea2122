"""The tables and sentences of measured figures on README.md and docs/, each made of committed facts alone.

Facts: training/weights, and benchmarks/results: records.jsonl, web.jsonl, and exports.json, a kept copy of the
report.json of `make packages`. Rows of other weights than the shipped ones are left out.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path

from benchmarks.page.answer import file_name
from benchmarks.page.rows import is_pruned
from benchmarks.page.shipped import card_of, cards, on_photographs, photographs
from benchmarks.page.small_tables import noted_ms
from benchmarks.records.columns import COLUMNS, cpu_class
from benchmarks.records.record import Device, Record, read_records

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
ENGINES = {"onnx": "onnxruntime", "openvino": "OpenVINO", "litert": "LiteRT", "web": "LiteRT.js"}  # by format
SAME_MM = 0.005  # a card's digits


def shipped_rows(kind: str = "onnx") -> dict[str, list[Record]]:
    """Return the rows of shipped weights' files of a format (`ENGINES`), on one thread, by variant, lightest first."""
    found: dict[str, list[Record]] = {name: [] for name in cards()}
    for record in read_records(RESULTS / ("web.jsonl" if kind == "web" else "records.jsonl")):
        is_file = record.kind == "artifact" and record.artifact.format == kind and not is_pruned(record)
        by_its_engine = record.runtime.name == ENGINES[kind] and record.runtime.threads == 1 and record.latency_ms
        if is_file and by_its_engine and card_of(record):
            found[str(record.variant)].append(record)
    return found


def variants_table() -> str:
    """Make the README's: each shipped variant in every precision."""
    rows = []
    shown = [record for records in shipped_rows().values() for record in records]
    for record in shown:
        seen = on_photographs(record)
        params_m = f"{record.artifact.params_m or 0:.2f}"
        network = (f"`{record.variant}`", params_m, *_texts(record, "gmac"), f"`{file_name(record)}`")
        share = f"{seen['boxed']['pck']:.2f}" if seen else ""
        measured = _texts(record, "size_mb", "mpjpe_mm", "delta_vs_fp32_mm")
        rows.append((*network, *measured, share, noted_ms(record), *_texts(record, "times_faster")))
    note = (
        f"MPJPE: of the files, {_images(shown)} (the mean pose, which never looks: {_mean_pose_mm()} mm). Photographs: "
        f"share of joints within a fifth of the hand's size, box given, on {photographs()['with_hands']} that are kept "
        f"aside. ms: the network alone, one thread, onnxruntime, all in turn in one run, on {_machine(shown)}; gain: "
        "times as fast as fp32; ~: may not repeat."
    )
    heads = ("variant", "parameters M", "GMAC", "file", "MB", "MPJPE mm (synthetic)", "lost to fp32 mm", "photographs")
    return _table((*heads, "ms", "gain"), rows, note)


def engine_table(kind: str) -> str:
    """Put an engine's int8 files beside our own int8 and fp32 ONNX files."""
    rows: list[tuple[str, ...]] = []
    theirs, onnx = shipped_rows(kind), shipped_rows()
    cells = ("size_mb", "delta_vs_fp32_mm")
    for variant, records in theirs.items():
        ours = {record.artifact.precision: record for record in onnx[variant]}
        for record in records:
            if record.artifact.precision == "int8" and ours.keys() >= {"fp32", "int8"}:
                pairs = [(*_texts(row, *cells), noted_ms(row)) for row in (record, ours["int8"])]
                rows.append((f"`{variant}`", *pairs[0], *pairs[1], noted_ms(ours["fp32"])))
    shown = [record for records in theirs.values() for record in records]
    beside = [record for records in onnx.values() for record in records]
    engine = ENGINES[kind]
    versions = sorted({f"{engine} {record.runtime.version}" for record in shown})
    where = (
        f"in {shown[0].device.name}, the ONNX files in a run of their own" if kind == "web" and shown else "all in turn"
    )
    note = (
        f"{' and '.join(versions)}; ms: the network alone, one thread, {where}, on {_machine(beside)}; ~: may not "
        "repeat. Lost: MPJPE against the fp32 ONNX file, in synthetic millimetres, over "
        f"{_images([*shown, *beside])}."
    )
    heads = (f"{engine} int8: MB", "lost mm", "ms", "own int8 in onnxruntime: MB", "lost mm", "ms")
    return _table(("variant", *heads, "fp32 in onnxruntime: ms"), rows, note)


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
    note = (
        "Apart from PyTorch: the worst vertex in fp32 (at most 0.05 mm), the worst hand in fp16 (at most 0.5 "
        "mm), over 64 crops, with the weights as stored."
        + (f" No package: {', '.join(failed)}." if failed else "")
        + (f" Of its present weights not made yet: {', '.join(others)}." if others else "")
    )
    heads = ("package", "MB", "of fp32 ONNX", "apart from PyTorch, fp32 mm", "fp16 mm")
    return _table((*heads, "MPJPE mm (synthetic)", "lost to fp32 mm"), rows, note)


def weights_table() -> str:
    """Make the first of docs/weights.md: what the shipped weights are worth."""
    facts = photographs()
    measured = ("accuracy", "accuracy_v1")
    rows = []
    for variant, card in cards().items():
        seen = facts["variants"][variant]
        shares = [seen[where][what] for where in ("boxed", "found") for what in ("pck", "presence")] + [
            seen["none_right"]
        ]
        errors = [f"{card[key]['mpjpe_mm']:.1f}" for key in measured]
        rows.append((f"`{variant}`", *errors, *(f"{share:.2f}" for share in shares)))
    rows.append(("the mean pose", _mean_pose_mm(), *[""] * 6))
    note = (
        f"Millimetres: MPJPE of the networks in fp32, synthetic. Photographs, {facts['measured']}: the int8 files on "
        f"{facts['with_hands']} with {facts['hands']} hands and {facts['without_hands']} without. Joints: the share "
        "within 0.2 of a hand's box; named right: that of pictures whose hands are; box: given, or found by the finder."
    )
    first = next(iter(cards().values()))
    datasets = [f"{first[key]['dataset'].partition(' (')[0]}, mm" for key in measured]
    shares_of = ("joints, box given", "named right", "joints, box found", "named right", "without hands: none found")
    return _table(("", *datasets, *shares_of), rows, note)


def training_list() -> str:
    """Say what each variant's weights saw last, as its card has it."""
    lines = []
    for variant, card in cards().items():
        run, begun = card["training"], card["training"]["started_from"] or {"nothing": "nothing"}
        start = "; ".join(f"weights {text[:8]}" if key == "weights_sha256" else text for key, text in begun.items())
        seen = (
            f"- `{variant}`: {run['samples']:,} pictures in {run['steps']:,} steps on {run['hardware']}, from {start}"
        )
        lines.append(
            textwrap.fill(f"{seen}. Shipped: {run['averaged'] or 'its last weights'}.", 120, subsequent_indent="  ")
        )
    return "\n".join(lines)


def photographs_text() -> str:
    """Say in a paragraph of the README what the int8 files find in whole photographs."""
    facts = photographs()
    found = sorted(facts["variants"].items(), key=lambda item: -item[1]["found"]["pck"])
    shares = ", ".join(f"{seen['found']['pck']:.2f} (`{variant}`)" for variant, seen in found)
    empty = min((seen["none_right"] for _, seen in found), default=0.0)
    return textwrap.fill(
        f"Measured on {facts['with_hands']} whole pictures with {facts['hands']} hands, kept aside: the int8 files put "
        f"{shares} of the joints within a fifth of the hand's size. Of {facts['without_hands']} pictures without hands "
        f"{'all' if empty == 1 else f'at least {empty:.0%}'} stay empty.",
        120,
    )


def _texts(record: Record, *keys: str) -> tuple[str, ...]:
    return tuple(COLUMNS[key].text(record) for key in keys)


def _images(rows: Sequence[Record]) -> str:
    """Return over how many images of which set the rows' errors are."""
    sets = dict.fromkeys(
        f"{row.accuracy.n_images} held-out images of {row.accuracy.dataset}" for row in rows if row.accuracy
    )
    return " and ".join(sets)


def _machine(rows: Sequence[Record]) -> str:
    def told(device: Device) -> str:
        return f"{cpu_class(device)} ({device.name.rpartition('(')[2].rstrip(')')})"

    return " and ".join(dict.fromkeys(told(row.device) for row in rows))


def _mean_pose_mm() -> str:
    return f"{next(iter(cards().values()))['mean_pose_mpjpe_mm']:.1f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    made = "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", textwrap.fill(note, 120)])
    return made if rows else "Not measured with the shipped weights yet."
