"""The same file on other CPUs' arithmetic, emulated.

python -m benchmarks.tools.arithmetic FILE.onnx... -o RECORD.json


MPJPE and vertices of 200 synthetic crops, on an aarch64 CPU (or others, --cpus) and on this machine. The MPJPE may
differ by 0.05 mm at most, with `--vertices` the hands of most images, too. `--passport` puts them into the files'
passports, `--tests` runs the runtime's tests there. Needs Debian's packages once; where they cannot be had, it says so
in one line and ends with 0.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.tools.arithmetic.agreement import Agreement, measure_agreement, usable_cores
from benchmarks.tools.arithmetic.cpus import CPUS, DEFAULT_CPU, get_cpu
from benchmarks.tools.arithmetic.emulated_tests import run_tests
from benchmarks.tools.arithmetic.passport import add_to_passport, facts_of
from benchmarks.tools.arithmetic.userland import Unavailable, ensure_userland
from compress.passport import file_sha256, git_commit, tool_versions
from runtime.errors import CommandParser, UserError, run_command
from runtime.files import write_text_atomic

MAX_CROPS, MAX_JOBS = 1000, 256


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where all agree, or where emulation cannot be set up here; 1 where not."""
    options = _parse(arguments)
    cpus = [get_cpu(name) for name in options.cpus]
    if not 1 <= options.crops <= MAX_CROPS or not 1 <= options.jobs <= MAX_JOBS:
        raise UserError(f"--crops is from 1 to {MAX_CROPS}, --jobs from 1 to {MAX_JOBS}")
    if not options.files and not options.tests:
        raise UserError("give model files, or --tests")
    try:
        userland = ensure_userland()
    except Unavailable as reason:
        print(f"skipped: {reason}")
        return 0
    passed = run_tests(get_cpu(DEFAULT_CPU), userland, options.jobs) if options.tests else True
    measured: dict[Path, list[Agreement]] = {}
    for file in options.files:
        measured[file] = measure_agreement(file, cpus, userland, options.crops, options.jobs)
        if options.passport:
            add_to_passport(file, measured[file])
    print_table(measured)
    if options.output is not None:
        write_text_atomic(options.output, json.dumps(make_record(measured), indent=2) + "\n")
    every = [agreement for found in measured.values() for agreement in found]
    agree = all(agreement.passed and (agreement.same_hands or not options.vertices) for agreement in every)
    return 0 if passed and agree else 1


def make_record(measured: Mapping[Path, Sequence[Agreement]]) -> dict[str, Any]:
    """For reports: the files' figures, and what made them."""
    files = {path.name: {"sha256": file_sha256(path), **facts_of(found)} for path, found in measured.items()}
    return {"schema_version": 1, "files": files, "tools": tool_versions(), "git_commit": git_commit()}


def print_table(measured: Mapping[Path, Sequence[Agreement]]) -> None:
    """One line per file and CPU."""
    layout = "{:28s} {:12s} {:>10s} {:>10s} {:>8s} {:>10s} {:>9s} {:>9s} {:>13s}  {}"
    columns = ("MPJPE here", "there", "apart", "vertices", "mean", "worst", "images beyond", "")
    for position, (path, found) in enumerate(measured.items()):
        if position == 0:
            print(f"{found[0].dataset}, {found[0].n_images} crops, mm; vertices: median over images")
            print(layout.format("file", "CPU", *columns).rstrip())
        for a in found:
            errors = (f"{a.mpjpe_here_mm:.3f}", f"{a.mpjpe_there_mm:.3f}", f"{a.mpjpe_difference_mm:+.4f}")
            distances = (f"{a.vertex_median_mm:.5f}", f"{a.vertex_mean_mm:.5f}", f"{a.vertex_max_mm:.4f}")
            verdict = ("passed" if a.passed else "FAILED") + ("" if a.same_hands else ", hands differ")
            print(layout.format(path.name, a.cpu, *errors, *distances, str(a.images_beyond_limit), verdict))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.onnx")
    parser.add_argument("--cpus", nargs="+", default=[DEFAULT_CPU], help=f"of {', '.join(CPUS)}")
    parser.add_argument("--crops", type=int, default=200, help="of the synthetic test split; default 200")
    parser.add_argument("--jobs", type=int, default=usable_cores(), help="processes at a time; default: all cores")
    parser.add_argument("--vertices", action="store_true", help="fail where the hands of most images differ, too")
    parser.add_argument("--tests", action="store_true", help="run the runtime's tests, too")
    parser.add_argument("--passport", action="store_true", help="put the figures into the files' passports")
    parser.add_argument("-o", "--output", type=Path, help="write the figures as JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_command(main)
