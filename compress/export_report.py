"""What an export says: an entry of report.json, passports, and the table on screen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from compress.check.measure import Figures
from compress.formats import BASELINE, OnnxFile
from compress.onnx.onnx_files import Written
from compress.other_formats import describe
from compress.passport import Passport, embed, file_sha256
from runtime.errors import UserError
from runtime.files import write_text_atomic
from runtime.machine import processor_name
from training.network import VARIANTS


def read_report(path: Path) -> dict[str, Any]:
    """The report of earlier exports into the same folder, or an empty one."""
    if not path.exists():
        return {"schema_version": 1, "exports": {}}
    try:
        report = json.loads(path.read_text())
        if not isinstance(report["exports"], dict):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a report of this command: move it away or give another --output-dir") from error
    return report


def write_report(path: Path, report: dict[str, Any], name: str, entry: dict[str, Any]) -> None:
    """Add an entry and replace the report atomically."""
    report["exports"][name] = entry
    report["machine"] = processor_name()
    write_text_atomic(path, json.dumps(report, indent=2) + "\n")


def write_passports(
    files: Mapping[str, Path],
    plan: tuple[OnnxFile, ...],
    passport: Passport,
    written: Mapping[str, Written],
    figures: Figures,
) -> dict[str, Any]:
    """Put the final passports into the files and beside them; their figures by file name, for the report."""
    entries = {}
    for file in plan:
        label, path = file.label, files[file.label]
        accuracy = asdict(figures.accuracy[label])
        accuracy["delta_vs_fp32_mm"] = figures.accuracy[label].mpjpe_mm - figures.accuracy[BASELINE].mpjpe_mm
        speed: dict[str, Any] = {"median": None, "reason": "made for another machine than this one"}
        if label in figures.latency:
            speed = asdict(figures.latency[label]) | {"threads": 1}
        if label in figures.ratios:
            speed["times_faster_than_fp32"] = asdict(figures.ratios[label])
        own = replace(passport, precision=file.precision, accuracy=accuracy, latency_ms=speed, **asdict(written[label]))
        facts = own.to_dict()
        embed(path, facts)
        facts |= {"file": path.name, "bytes": path.stat().st_size, "sha256": file_sha256(path)}
        path.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n")
        entries[path.stem] = {key: facts[key] for key in ("precision", "bytes", "sha256", "accuracy", "latency_ms")}
    return entries


def make_entry(passport: Passport, figures: Figures, files: dict[str, Any]) -> dict[str, Any]:
    """One export in report.json."""
    return {
        "variant": passport.variant,
        "parameters_m": passport.parameters_m,
        "gmac": passport.gmac,
        "verdict": passport.verdict,
        "formats": {"onnx": passport.verdict},
        "dataset": passport.dataset,
        "synthetic": passport.synthetic,
        "mean_pose_mpjpe_mm": figures.mean_pose_mpjpe_mm,
        "parity": passport.parity,
        "files": files,
        "advice": figures.advice,
        "pruning": passport.pruning,
    }


def print_result(entry: dict[str, Any], output_dir: Path) -> None:
    """The table and the verdict."""
    print(f"\n{entry['variant']}, {entry['dataset']}, protocol mcp-scaled, one thread")
    layout = "{:28s} {:>6s} {:>9s} {:>8s} {:>9s} {:>9s} {:>8s} {:>18s}"
    print(layout.format("file", "MB", "MPJPE mm", "lost mm", "MPVPE mm", "MRRPE mm", "ms", "faster"))
    for name, facts in entry["files"].items():
        accuracy, speed = facts["accuracy"], facts["latency_ms"]
        ratio = speed.get("times_faster_than_fp32")
        timed = speed["median"] is not None
        faster = f"{ratio['median']:.2f} ({ratio['min']:.2f}-{ratio['max']:.2f})" if ratio else "1" if timed else "-"
        errors = [accuracy[key] for key in ("mpjpe_mm", "delta_vs_fp32_mm", "mpvpe_mm", "mrrpe_mm")]
        cells = [f"{error:.3f}" for error in errors] + [f"{speed['median']:.2f}" if timed else "-", faster]
        print(layout.format(f"{name}.onnx", f"{facts['bytes'] / 1e6:.2f}", *cells))
    print(layout.format("mean pose", "", f"{entry['mean_pose_mpjpe_mm']:.3f}", *[""] * 5).rstrip())
    parity = entry["parity"]
    worst = f"{parity['vertex_mm']:.5f} mm, {parity['projection_px']:.5f} px"
    print(f"parity with torch: {worst} over {parity['n_images']} crops")
    if trained := parity["trained"]:
        unrounded = trained["without_rounding"]["vertex_mm"]
        print(
            f"int8 with the network trained to be it: {unrounded:.5f} mm without the rounding of activations, "
            f"{abs(trained['mpjpe_difference_mm']):.3f} mm MPJPE with it"
        )
    if pruning := entry["pruning"]:
        full, less = pruning["gmac"]
        print(f"pruned: {full:.3f} -> {less:.3f} GMAC, fp32 {pruning['times_faster']:.2f} times faster than unpruned")
    print(f"run {entry['advice']}")
    verdict = entry["verdict"]
    print("verdict: " + "; ".join([verdict["status"], *verdict["reasons"]]))
    for name, facts in entry["formats"].items():
        if name != "onnx":
            print(*describe(name, facts), sep="\n")
    if verdict["status"] == "passed":
        last = [name for name, facts in entry["files"].items() if facts["latency_ms"]["median"] is not None][-1]
        print(f"next: python runtime/demo.py IMAGE --model {output_dir / last}.onnx")
    else:
        print(f"nothing was written to {output_dir}")


def print_variants() -> None:
    """The table of variants, counted, not typed."""
    from training.checkpoint import shipped_weights
    from training.network import build
    from training.network.count import count_gmac, count_parameters_m

    layout = "{:8s} {:>7s} {:>9s} {:>8s} {:>7s} {:>8s}  {:12s} {}"
    print(layout.format("variant", "crop px", "params M", "at most", "GMAC", "at most", "weights", "what for"))
    for name, variant in VARIANTS.items():
        network = build(name)
        params, gmac = count_parameters_m(network), count_gmac(network, variant.crop_px)
        counts = (f"{params:.2f}", f"{variant.params_budget_m:g}", f"{gmac:.3f}", f"{variant.gmac_budget:g}")
        shipped = "shipped" if shipped_weights(name) else "not shipped"
        print(layout.format(name, str(variant.crop_px), *counts, shipped, variant.purpose))
