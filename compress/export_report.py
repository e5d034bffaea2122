"""What an export says: its entry in report.json, and the table on screen. The entry is a view of its artefacts."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compress.artefact import PASSED, Artefact, Verdict
from compress.formats import FORMATS
from compress.passport import passport
from runtime.errors import UserError
from runtime.files import write_text_atomic
from runtime.machine import processor_name
from training.checkpoint import shipped_weights
from training.data.cache import cache_dir, locked
from training.evaluation.text_table import number, print_columns
from training.network import VARIANTS, build
from training.network.count import count_gmac, count_parameters_m

COMMON = ("variant", "parameters_m", "gmac", "dataset", "synthetic", "pruning")  # facts of all files of an export
OF_FILE = ("precision", "accuracy", "latency_ms", "bytes", "sha256")


def make_entry(
    artefacts: tuple[Artefact, ...], facts: dict[str, Any], mean_pose_mpjpe_mm: float, advice: str
) -> dict[str, Any]:
    """One export in report.json; `facts`: what all its passports say, `mean_pose...`: what knowing nothing gives."""
    onnx = [artefact for artefact in artefacts if artefact.format == "onnx"]
    verdict = asdict(verdict_of(onnx))
    files = {}
    for artefact in onnx:
        own = passport(artefact, facts, FORMATS["onnx"].untimed) | artefact.details
        files[artefact.path.stem] = {key: own[key] for key in OF_FILE if key in own}
    return {
        **{key: facts[key] for key in COMMON},
        "verdict": verdict,
        "formats": {"onnx": verdict} | {a.format: _of_format(a) for a in artefacts if a.format != "onnx"},
        "mean_pose_mpjpe_mm": mean_pose_mpjpe_mm,
        "parity": onnx[-1].parity,
        "files": files,
        "advice": advice,
    }


def verdict_of(artefacts: Sequence[Artefact]) -> Verdict:
    """Of several: the first that is not `passed`."""
    return next((artefact.verdict for artefact in artefacts if not artefact.verdict.passed), Verdict(PASSED))


def _of_format(artefact: Artefact) -> dict[str, Any]:
    measured = {"parity": artefact.parity, "accuracy": artefact.accuracy_facts()}
    if artefact.latency is not None:
        measured["latency_ms"] = passport(artefact, {}, "")["latency_ms"]
    return artefact.details | {key: value for key, value in measured.items() if value} | asdict(artefact.verdict)


def read_report(path: Path) -> dict[str, Any]:
    """The report of earlier exports into the same folder, or an empty one."""
    if not path.exists():
        return {"schema_version": 1, "exports": {}}
    try:
        report = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(report["exports"], dict):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a report of this command: move it away or give another --output-dir") from error
    return report


def add_to_report(path: Path, name: str, entry: dict[str, Any]) -> None:
    """Add an entry and replace the report atomically; other exports into the same folder wait, and keep theirs."""
    name_of_lock = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
    with locked(cache_dir() / "locks" / name_of_lock):  # not in the user's folder: a lock's file stays
        report = read_report(path)
        report["exports"][name] = entry
        report["machine"] = processor_name()
        write_text_atomic(path, json.dumps(report, indent=2) + "\n")


def print_result(entry: dict[str, Any], output_dir: Path, hand_model: Path | None = None) -> None:
    """The table and the verdict."""
    print(f"\n{entry['variant']}, {entry['dataset']}, protocol mcp-scaled, one thread")
    rows: list[tuple[str, ...]] = [("file", "MB", "MPJPE mm", "lost mm", "MPVPE mm", "MRRPE mm", "ms", "faster")]
    for name, facts in entry["files"].items():
        speed = facts["latency_ms"]
        ratio = speed.get("times_faster_than_fp32")
        faster = f"{ratio['median']:.2f} ({ratio['min']:.2f}-{ratio['max']:.2f})" if ratio else "-"
        errors = [facts["accuracy"].get(key) for key in ("mpjpe_mm", "delta_vs_fp32_mm", "mpvpe_mm", "mrrpe_mm")]
        cells = [number(value, 3) for value in (*errors, speed["median"])]
        rows.append((f"{name}.onnx", number(facts["bytes"] / 1e6), *cells, faster))
    print_columns([*rows, ("mean pose", "", number(entry["mean_pose_mpjpe_mm"], 3), *[""] * 5)])
    parity = entry["parity"]
    print("parity with torch: {vertex_mm:.5f} mm, {projection_px:.5f} px over {n_images} crops".format(**parity))
    if pruning := entry["pruning"]:
        print("pruned: {:.3f} -> {:.3f} GMAC".format(*pruning["gmac"]))
    for name, facts in entry["formats"].items():
        print(f"{name}: " + "; ".join([facts["status"], *facts["reasons"]]))
        print(*(f"  {line}" for line in describe(facts)), sep="\n", end="\n" if describe(facts) else "")
    if entry["verdict"]["status"] == PASSED:
        print(f"run {entry['advice']}")
        hand = "" if hand_model is None else f" --hand-model {hand_model}"
        print(f"next: python runtime/demo.py IMAGE --model {output_dir / fastest_file(entry)}{hand}")
    else:
        print(f"nothing was written to {output_dir}")


def fastest_file(entry: dict[str, Any]) -> str:
    """The file of an export that took the least time here, of all its formats."""
    timed = {f"{name}.onnx": facts["latency_ms"]["median"] for name, facts in entry["files"].items()}
    made = [facts for facts in entry["formats"].values() if facts["status"] == PASSED and "file" in facts]
    timed |= {facts["file"]: facts.get("latency_ms", {}).get("median") for facts in made}
    return min((file for file, median_ms in timed.items() if median_ms is not None), key=lambda file: timed[file])


def describe(facts: dict[str, Any]) -> list[str]:
    """Lines of a format's entry: what was measured of its file, and its notes."""
    if "accuracy" not in facts:
        return list(facts.get("notes", ()))
    parity, accuracy, speed = facts.get("parity", {}), facts["accuracy"], facts.get("latency_ms", {})
    line = f"{facts['file']}, {facts['bytes'] / 1e6:.2f} MB"
    if worst := parity.get("fp32", parity):
        line += f", {worst['vertex_mm']:.4f} mm apart (worst vertex of {parity['n_images']} crops)"
    if "fp16" in parity:
        line += f", {parity['fp16']['present_hand_mm']:.3f} in fp16 (worst hand)"
    line += f"; {accuracy['mpjpe_mm']:.3f} mm MPJPE ({accuracy['delta_vs_fp32_mm']:+.3f})"
    if ratio := speed.get("times_faster_than_fp32"):
        line += f"; {speed['median']:.3f} ms, {ratio['median']:.2f} times the speed of fp32 in onnxruntime"
    return [line, *facts.get("notes", ())]


def print_variants() -> None:
    """The table of variants, counted, not typed."""
    rows: list[tuple[str, ...]] = [
        ("variant", "crop px", "params M", "at most", "GMAC", "at most", "weights", "what for")
    ]
    for name, variant in VARIANTS.items():
        network = build(name)
        params, gmac = count_parameters_m(network), count_gmac(network, variant.crop_px)
        counts = (f"{params:.2f}", f"{variant.params_budget_m:g}", f"{gmac:.3f}", f"{variant.gmac_budget:g}")
        shipped = "shipped" if shipped_weights(name) else "not shipped"
        rows.append((name, str(variant.crop_px), *counts, shipped, variant.purpose))
    print_columns(rows, left=(0, 6, 7))
    print(f"formats: {', '.join(FORMATS)}")
