"""How small and quick the runtime is on this machine, in fresh processes, against its aims.

python benchmarks/tools/footprint.py --model exports/er-xs_224_int8.onnx -o benchmarks/results/footprint.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.devices.device_facts import describe_device, installed
from benchmarks.measure.memory import status_mb
from runtime.errors import CommandParser, UserError, run_command
from runtime.files import write_text_atomic

SCHEMA_VERSION = 1
PACKAGES = ("numpy", "opencv-python-headless", "onnxruntime")
IMAGE_BYTES = 480 * 640 * 3  # of the smallest picture that allocations are measured with
STARTS = 7
STAGE_FRAMES = 1000
ALLOCATION_FRAMES = 20
LIMIT_SECONDS = 3600


@dataclass(frozen=True)
class Aim:
    """What a figure must not exceed."""

    name: str
    most: float
    unit: str
    figure: Callable[[dict[str, Any]], float]


AIMS = (
    Aim("import_and_load", 0.6, "s", lambda told: float(told["start"]["total_s"])),
    Aim("resident_after_100_frames", 110, "MB", lambda told: float(told["memory"]["after_100_frames_mb"])),
    Aim("growth", 1, "MB", lambda told: float(told["memory"]["growth_mb"])),
    Aim("pre_and_post_on_one_thread", 1.5, "ms", lambda told: float(told["stages"]["pre_and_post_ms"])),
    Aim("pre_and_post_of_the_frame", 0.15, "share", lambda told: float(told["stages"]["share"])),
    Aim(
        "allocated_at_once_after_the_first_frame",
        IMAGE_BYTES,
        "bytes",
        lambda told: float(max(told["allocations"]["peak_bytes"].values())),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; `arguments` without the program's name."""
    options = _parse(arguments)
    if status_mb("VmRSS") is None:
        raise UserError("this system has no /proc/self/status: measure on Linux")
    models = {path.stem: measure(path, options.frames) for path in options.model}
    report = {
        "schema_version": SCHEMA_VERSION,
        "command": _command(options),
        "device": asdict(describe_device()),
        "versions": versions(),
        "models": models,
    }
    if options.output is not None:
        write_text_atomic(options.output, json.dumps(report, indent=2) + "\n")
    for name, figures in models.items():
        for aim in figures["aims"]:
            mark = "met" if aim["met"] else "MISSED"
            print(f"{name}  {aim['name']}: {aim['figure']:.4g} {aim['unit']} (at most {aim['most']:g}) {mark}")
    return 0


def measure(path: Path, frames: int) -> dict[str, Any]:
    """All figures of one model file; memory grows over that many frames."""
    starts = [ask("start", path) for _ in range(STARTS)]
    told: dict[str, Any] = {
        "bytes": path.stat().st_size,
        "start": {key: median(start[key] for start in starts) for key in starts[0]} | {"processes": STARTS},
        "memory": ask("memory", path, frames),
        "stages": ask("stages", path, STAGE_FRAMES),
        "allocations": ask("allocations", path, ALLOCATION_FRAMES),
    }
    return told | {"aims": [_verdict(aim, told) for aim in AIMS]}


def ask(part: str, path: Path, frames: int = 0) -> dict[str, Any]:
    """One part of the measurement, in a process of its own. A UserError where it fails."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "benchmarks.tools.footprint_parts", part, str(path.resolve()), str(frames)]
    paths = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True, env=environment
        )
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise UserError(f"cannot measure {path}: {last[:300]}") from None
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def versions() -> dict[str, str | None]:
    """Of Python and the libraries that count."""
    return {"python": platform.python_version(), **{name: installed(name) for name in PACKAGES}}


def _verdict(aim: Aim, told: dict[str, Any]) -> dict[str, Any]:
    figure = aim.figure(told)
    return {"name": aim.name, "unit": aim.unit, "most": aim.most, "figure": figure, "met": figure <= aim.most}


def _command(options: argparse.Namespace) -> str:
    files = " ".join(str(path) for path in options.model)
    return f"python benchmarks/tools/footprint.py --model {files} --frames {options.frames}"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__ or "")
    parser.add_argument("--model", type=Path, nargs="+", required=True, metavar="FILE", help="exported models (.onnx)")
    parser.add_argument("--frames", type=int, default=20_000, metavar="N", help="over which memory grows (20000)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the figures as JSON")
    options = parser.parse_args(arguments)
    if options.frames < 1:
        raise UserError(f"--frames is {options.frames}: give a whole number from 1 on")
    missing = [path for path in options.model if not path.is_file()]
    if missing:
        raise UserError(f"there is no model {missing[0]}: export one with python compress/export.py")
    return options


if __name__ == "__main__":
    run_command(main)
