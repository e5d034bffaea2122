"""What a run on a Jetson says: which precision wins, what speaks against the figures, one file to send home."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.devices.jetson.measure import Candidate, Measured, Tools, device_tools, measure_on_device
from benchmarks.devices.jetson.parity import TOLERANCE_MM
from benchmarks.devices.jetson.records import records
from benchmarks.devices.jetson.verdict import doubts, energy_mj, shares, winner
from benchmarks.devices.tegra import read_board
from benchmarks.measure.stats import summarise
from benchmarks.records.record import DOUBTFUL, FAILED, FINISHED, SCHEMA_VERSION
from runtime.files import write_text_atomic


def is_here(target: str, root: Path = Path("/")) -> bool:
    """Whether a target is a Jetson and this is one, so that there is something to measure and not to predict."""
    return target.startswith("jetson") and read_board(root) is not None


def measure_jetson(
    models: Sequence[Path], target: str, output_dir: Path, overwrite: bool = False, cuda_graph: bool = False
) -> int:
    """All that `benchmarks/run.py --target jetson-...` does on a Jetson; the exit code, 1 where no engine is right."""
    path, measured = run_on_jetson(models, target, output_dir, device_tools(cuda_graph), overwrite)
    print_report(measured, path)
    return 0 if any(candidate.passed for candidate in measured.candidates) else 1


def run_on_jetson(
    models: Sequence[Path], target: str, output_dir: Path, tools: Tools, overwrite: bool = False
) -> tuple[Path, Measured]:
    """Measure, write the file, and say where it is. It is written before every long step, with what stopped there."""
    path = output_dir / f"{target.partition('@')[0]}_{models[0].stem.rsplit('_', 1)[0]}.json"
    output_dir.mkdir(parents=True, exist_ok=True)
    started = now()

    def step(what: str) -> None:
        print(what, flush=True)
        facts = {"schema_version": SCHEMA_VERSION, "created_utc": started, "status": "PROFILING", "stopped_while": what}
        write_text_atomic(path, json.dumps(facts, indent=2) + "\n")

    measured = measure_on_device(models, target, tools, overwrite, step)
    write_text_atomic(path, json.dumps(report(measured, started), indent=2, allow_nan=False) + "\n")
    return path, measured


def report(measured: Measured, created_utc: str) -> dict[str, Any]:
    """Everything that was measured, for JSON: nan and what nobody knows become null."""
    best = winner(measured)
    reasons = doubts(measured)
    status = FAILED if best.label is None and not any(c.passed for c in measured.candidates) else FINISHED
    facts = {
        "schema_version": SCHEMA_VERSION,
        "created_utc": created_utc,
        "status": DOUBTFUL if status == FINISHED and reasons else status,
        "doubts": reasons,
        "winner": asdict(best),
        "target": measured.target.name,
        "board": asdict(measured.board),
        "power_mode": measured.power_mode,
        "before": asdict(measured.before),
        "after": asdict(measured.after),
        "left_out": measured.left_out,
        "engines": {c.plan.label: candidate_facts(c) for c in measured.candidates},
        "records": [asdict(record) for record in records(measured, created_utc)],
    }
    cleaned: dict[str, Any] = without_nan(facts)
    return cleaned


def candidate_facts(candidate: Candidate) -> dict[str, Any]:
    """Of one engine, what a record has no place for."""
    passport = candidate.passport
    return {
        "file": candidate.engine.name,
        "passport": asdict(passport),
        "precision_shares": shares(passport.engine_layers),
        "parity_with_onnxruntime": asdict(candidate.parity),
        "parity_passed": candidate.passed,
        "tolerance_mm": TOLERANCE_MM[candidate.plan.precision],
        "difference_to_fp32": None if candidate.lost is None else asdict(candidate.lost),
        "memory": asdict(candidate.memory),
        "end_to_end_ms": asdict(summarise(candidate.end_to_end_ms)),
        "device_ms": asdict(summarise(candidate.device_ms)),
        "power_w": None if candidate.power is None else asdict(candidate.power),
        "energy_mj_per_frame": energy_mj(candidate),
    }


def without_nan(value: Any) -> Any:
    """JSON has no nan: null."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def now() -> str:
    """UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def print_report(measured: Measured, path: Path) -> None:
    """The table, the winner, the doubts."""
    print(
        f"\n{measured.board.model}, power mode {measured.power_mode or 'unknown'}, {len(measured.candidates)} engines"
    )
    layout = "{:10s} {:>10s} {:>10s} {:>12s} {:>12s} {:>8s} {:>10s}  {}"
    print(layout.format("engine", "ms", "GPU ms", "mm to ONNX", "mm to fp32", "W", "mJ/frame", "layers"))
    for c in measured.candidates:
        cells = [
            f"{np.median(np.concatenate(c.end_to_end_ms)):.3f}",
            f"{np.median(np.concatenate(c.device_ms)):.3f}",
            f"{c.parity.mean_mm:.4f}",
            "--" if c.lost is None else f"{c.lost.mean_mm:.4f}",
            "--" if c.power is None else f"{c.power.mean:.2f}",
            "--" if c.power is None else f"{energy_mj(c):.1f}",
        ]
        layers = ", ".join(f"{100 * share:.0f} % {name}" for name, share in shares(c.passport.engine_layers).items())
        print(layout.format(c.plan.label, *cells, layers))
    print(winner(measured).sentence)
    for reason in doubts(measured):
        print(f"doubt: {reason}")
    for name, reason in measured.left_out.items():
        print(f"left out: {name}: {reason}")
    print(f"send home: {path}")
