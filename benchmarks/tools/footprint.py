"""How small and quick the runtime is on this machine, in fresh processes (footprint_parts.py), against its aims.

python benchmarks/tools/footprint.py --model exports/er-xs_224_int8.onnx -o benchmarks/results/footprint.json
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

if not __package__:  # run as a file: packages are found from the project's root, and this folder hides none
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.candidates.engines import installed
from benchmarks.devices.device_facts import describe_device
from benchmarks.measure.memory import ask_fresh
from benchmarks.measure.process_memory import status_mb
from runtime.errors import CommandParser, UserError, run_command
from runtime.files import write_text_atomic

SCHEMA_VERSION = 1
PACKAGES = ("numpy", "opencv-python-headless", "onnxruntime")
IMAGE_BYTES = 480 * 640 * 3  # of the smallest picture that allocations are measured with
STARTS = 7
STAGE_FRAMES = 1000
ALLOCATION_FRAMES = 20

Told = dict[str, Any]


@dataclass(frozen=True)
class Aim:
    """What a figure must not exceed."""

    name: str
    most: float
    unit: str
    figure: Callable[[Told], float]


AIMS = (
    Aim("import_and_load", 0.6, "s", lambda told: told["start"]["total_s"]),
    Aim("resident_after_100_frames", 110, "MB", lambda told: told["memory"]["after_100_frames_mb"]),
    Aim("growth", 1, "MB", lambda told: told["memory"]["growth_mb"]),
    Aim("pre_and_post_on_one_thread", 1.5, "ms", lambda told: told["stages"]["pre_and_post_ms"]),
    Aim("pre_and_post_of_the_frame", 0.15, "share", lambda told: told["stages"]["share"]),
    Aim(
        "allocated_at_once_after_the_first_frame",
        IMAGE_BYTES,
        "bytes",
        lambda told: max(told["allocations"]["peak_bytes"].values()),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write what is asked for."""
    options = _parse(arguments)
    if status_mb("VmRSS") is None:
        raise UserError("this system has no /proc/self/status: measure on Linux")
    models = {path.stem: measure(path, options.frames) for path in options.model}
    files = " ".join(map(str, options.model))
    report = {
        "schema_version": SCHEMA_VERSION,
        "command": f"python benchmarks/tools/footprint.py --model {files} --frames {options.frames}",
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


def measure(path: Path, frames: int) -> Told:
    """Measure all figures of one model file; memory grows over that many frames."""
    starts = [ask("start", path) for _ in range(STARTS)]
    told: Told = {
        "bytes": path.stat().st_size,
        "start": {key: median(start[key] for start in starts) for key in starts[0]} | {"processes": STARTS},
        "memory": ask("memory", path, frames),
        "stages": ask("stages", path, STAGE_FRAMES),
        "allocations": ask("allocations", path, ALLOCATION_FRAMES),
    }
    return told | {"aims": [_verdict(aim, told) for aim in AIMS]}


def ask(part: str, path: Path, frames: int = 0) -> Told:
    """Measure one part in a process of its own. A UserError where it fails."""
    try:
        return ask_fresh("benchmarks.tools.footprint_parts", part, str(path.resolve()), str(frames))
    except UserError as error:
        raise UserError(f"cannot measure {path}: {error}") from None


def versions() -> dict[str, str | None]:
    """Return those of Python and the libraries that count."""
    return {"python": platform.python_version(), **{name: installed(name) for name in PACKAGES}}


def _verdict(aim: Aim, told: Told) -> Told:
    figure = aim.figure(told)
    return {"name": aim.name, "unit": aim.unit, "most": aim.most, "figure": figure, "met": figure <= aim.most}


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
