"""The same file on other CPUs' arithmetic, emulated.

python -m benchmarks.tools.arithmetic FILE.onnx... -o RECORD.json

MPJPE and vertices of 200 synthetic crops, on an aarch64 CPU (or others, --cpus) and on this machine. The MPJPE may
differ by 0.05 mm at most, with `--vertices` the hands of most images, too. `--tests` runs the runtime's tests there.
Needs Debian's packages once (arm64_system.sh); where they cannot be had, it says so in one line and ends with 0.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.tools.arithmetic.agreement import LIMIT_MM, Agreement, Found, compare
from benchmarks.tools.arithmetic.emulator import CPUS, Cpu, System, Unavailable, ensure_system
from benchmarks.tools.arithmetic.find_hands import find_hands
from compress.crops import load_crops
from compress.passport import git_commit, tool_versions
from runtime.errors import CommandParser, UserError, run_command, unknown_name
from runtime.files import file_sha256, write_text_atomic
from runtime.hand.hand_model import load_hand_models
from runtime.machine import processor_name
from runtime.runner import load
from training.data.dataset import SYNTHETIC, open_frames

CROPS_PER_PROCESS = 20
MAX_CROPS, MAX_JOBS = 1000, 256
# Without those that start Python again, which an emulator cannot, that need training/, or that watch long sequences.
TESTS = ("hand", "image", "backends/test_contract.py", "test_files.py", "test_runner.py")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 where all agree, or where emulation cannot be set up here; 1 where not."""
    options = _parse(arguments)
    try:
        system = ensure_system()
    except Unavailable as reason:
        print(f"skipped: {reason}")
        return 0
    passed = run_tests(CPUS["cortex-a76"], system) if options.tests else True
    record: dict[str, Any] = {"schema_version": 1, "files": {}, "tools": tool_versions(), "git_commit": git_commit()}
    for file in options.files:
        found = [measure(file, CPUS[name], system, options.crops, options.jobs) for name in options.cpus]
        passed &= all(one.passed and (one.same_hands or not options.vertices) for one in found)
        for one in found:
            print(f"{file.name} on {one.cpu}: {one.sentence}")
        facts = {"here": processor_name(), "limit_mm": LIMIT_MM, "emulated": {one.cpu: one.figures for one in found}}
        record["files"][file.name] = {"sha256": file_sha256(file), **facts}
    if options.output is not None:
        write_text_atomic(options.output, json.dumps(record, indent=2) + "\n")
    return 0 if passed else 1


def measure(model: Path, cpu: Cpu, system: System, count: int, jobs: int) -> Agreement:
    """Run the first `count` crops of the synthetic test split here and on a CPU, `jobs` processes at a time."""
    with load(model, device="cpu", threads=1) as runner:
        crop_px = runner.input_px
    frames = open_frames(SYNTHETIC, "test", load_hand_models(), count)
    crops = load_crops(frames, len(frames), crop_px, "crops")
    parts = [crops[start : start + CROPS_PER_PROCESS] for start in range(0, len(crops), CROPS_PER_PROCESS)]
    with tempfile.TemporaryDirectory() as folder:

        def run(index: int) -> tuple[Found, Found]:
            given, here, there = (Path(folder) / f"{index}-{name}" for name in ("crops.npy", "here.npz", "there.npz"))
            np.save(given, parts[index])
            find_hands(model, given, here)
            words = ["-m", find_hands.__module__, *map(str, (model.absolute(), given, there))]
            done = system.run(cpu, words)
            if done.returncode != 0:
                last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
                raise RuntimeError(f"{model.name} fails on {cpu.name}: {last[:200]}")
            return dict(np.load(here)), dict(np.load(there))

        label = f"{model.stem} on {cpu.name}"
        with ThreadPoolExecutor(jobs) as pool:
            pairs = list(tqdm(pool.map(run, range(len(parts))), label, len(parts), unit="part", leave=False))
    here, there = ({key: np.concatenate([pair[side][key] for pair in pairs]) for key in pairs[0][0]} for side in (0, 1))
    return compare(cpu.name, frames, crop_px, here, there)


def run_tests(cpu: Cpu, system: System) -> bool:
    """Say whether the runtime's own tests pass there; print what pytest says, shortly where they do."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["-q", "-m", "not slow", "-p", "no:cacheprovider", "--basetemp", f"{folder}/tests"]
        options.append("--ignore=tests/runtime/hand/test_checksum.py")  # it starts Python again
        words = ["-m", "pytest", *options, *(f"tests/runtime/{name}" for name in TESTS)]
        done = system.run(cpu, words, {"HYPOTHESIS_STORAGE_DIRECTORY": f"{folder}/hypothesis"})
    lines = done.stdout.strip().splitlines() or [f"pytest ended with {done.returncode}"]
    print(f"runtime's tests on {cpu.name}: {lines[-1] if done.returncode == 0 else done.stdout + done.stderr}")
    return done.returncode == 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__ or "")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.onnx")
    parser.add_argument("--cpus", nargs="+", default=["cortex-a76"], help=f"of {', '.join(CPUS)}")
    parser.add_argument("--crops", type=int, default=200, help="of the synthetic test split; default 200")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time; default: all cores")
    parser.add_argument("--vertices", action="store_true", help="fail where the hands of most images differ, too")
    parser.add_argument("--tests", action="store_true", help="run the runtime's tests, too")
    parser.add_argument("-o", "--output", type=Path, help="write the figures as JSON")
    options = parser.parse_args(arguments)
    for name in options.cpus:
        if name not in CPUS:
            raise unknown_name("CPU", name, CPUS)
    if not 1 <= options.crops <= MAX_CROPS or not 1 <= options.jobs <= MAX_JOBS:
        raise UserError(f"--crops is from 1 to {MAX_CROPS}, --jobs from 1 to {MAX_JOBS}")
    if not options.files and not options.tests:
        raise UserError("give model files, or --tests")
    return options


if __name__ == "__main__":
    run_command(main)
