"""Measure exported files on this device, beside their peers.

python benchmarks/run.py --model FILE... --peers all --mediapipe WHEEL --threads 1 all -o records.jsonl

Accuracy, time and memory are of the same file through the same runner; all candidates are timed in turn, block by
block. Rows are written as PROFILING before anything is measured, so that a crash or a kill leaves a trace, and filled
in as they are done. What speaks against a figure stands in its row.

On a Jetson, `--target` with its own name builds an engine of each ONNX file, where there is none, and measures those.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

if not __package__:  # run as a file: packages are found from the project's root, and this folder hides none
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.candidates.facts import artifact_candidate
from benchmarks.candidates.peers import ALL, PEERS, Setting, make_peers
from benchmarks.candidates.planned_rows import Plan, draft
from benchmarks.devices.device_facts import is_this_jetson
from benchmarks.measure.latency import SCHEDULE
from benchmarks.page.screen import print_run
from benchmarks.records.record import FAILED, Record
from benchmarks.records.run_records import Sheet, make_way
from compress.tensorrt.engine_file import prepare_engines
from runtime.errors import CommandParser, UserError, run_command
from runtime.machine import usable_cores
from targets import read_target

MAX_THREADS = 256
IMAGES = 1000


def run(args: argparse.Namespace) -> list[Record]:
    """Measure all that is asked for; return the records, which are in the file, too.

    UserError for what the user can mend.
    """
    from benchmarks.measure import steps as session  # brings the whole data reader: mistakes are told before

    artifacts = [artifact_candidate(path, args.device, args.hand_model) for path in args.model]
    make_way(args.output, args.overwrite)
    with tempfile.TemporaryDirectory() as folder:
        peers, absent = make_peers(args.peers, Setting(tuple(artifacts), Path(folder), args.mediapipe))
        candidates = (*artifacts, *peers)
        name, count = Counter(candidate.name for candidate in candidates).most_common(1)[0]
        if count > 1:
            raise UserError(f"two rows would be called '{name}': give files of different names")
        warmup_seconds = min(SCHEDULE.warmup_seconds, args.seconds)
        schedule = replace(SCHEDULE, rounds=args.rounds, block_seconds=args.seconds, warmup_seconds=warmup_seconds)
        plan = Plan(candidates, absent, args.threads, schedule, command_line())
        sheet = Sheet(args.output, draft(plan))
        session.measure_memories(plan, sheet)
        session.measure_accuracies(plan, sheet, args.data, args.images, args.hand_model, args.pictures)
        for threads in plan.threads:
            session.measure_latencies(plan, sheet, threads)
    return sheet.records


def command_line() -> str:
    """Return the command that began this run, without the machine's own folders."""

    def shown(word: str) -> str:
        path = Path(word)
        if not path.is_absolute():
            return word
        return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name

    return shlex.join(["python", *map(shown, sys.argv)])


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, measure, print the table. Exit code 1 where a row failed."""
    args = _parse(arguments)
    records = run(args)
    print_run(records)
    print(f"{len(records)} records in {args.output}; next: python benchmarks/report.py {args.output} -o r.html")
    return int(any(record.verdict.status == FAILED for record in records))


def thread_counts(word: str) -> list[int]:
    """Read a number, `all` or `scaling`."""
    cores = usable_cores() or os.cpu_count() or 1
    if word == "scaling":
        return [*(2**power for power in range(8) if 2**power < cores), cores]
    count = cores if word == "all" else int(word) if word.isdecimal() else 0
    if not 1 <= count <= MAX_THREADS:
        raise UserError(f"--threads '{word}' is neither a number from 1 to {MAX_THREADS} nor 'all' or 'scaling'")
    return [count]


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__ or "")
    add = parser.add_argument
    add("--model", type=Path, nargs="+", required=True, metavar="FILE", help="exported models")
    add("-o", "--output", type=Path, default=Path("records.jsonl"), metavar="FILE", help="default: records.jsonl")
    add("--target", metavar="T", help="the Jetson at hand: engines are built and measured")
    add("--data", default="synthetic", help="'synthetic' or a data set's folder, for errors in mm")
    add("--pictures", nargs="+", default=[], metavar="DATA", help="further data sets, for figures in the picture")
    add("--images", type=int, metavar="N", help=f"of the test split, {IMAGES} unless said; 0: none")
    add("--threads", nargs="+", default=["1"], metavar="N", help="numbers, 'all', or 'scaling': 1, 2, 4 ... all")
    add("--peers", nargs="+", default=[], metavar="PEER", help=f"{', '.join(PEERS)} or {ALL}")
    add("--mediapipe", type=Path, metavar="WHEEL", help="the wheel with MediaPipe's networks")
    add("--device", default="auto", help="auto, cpu or cuda, for the artefacts")
    add("--hand-model", type=Path, metavar="FILE", help="that the models were trained on")
    add("--rounds", type=int, default=SCHEDULE.rounds, metavar="N", help="blocks of each candidate")
    add("--seconds", type=float, default=SCHEDULE.block_seconds, metavar="S", help="after which a block ends")
    add("--overwrite", action="store_true", help="replace the records; the old ones are kept beside")
    args = parser.parse_args(arguments)
    if args.target is not None:
        read_target(args.target)  # an unknown name is told first
    here = args.target is not None and is_this_jetson(args.target)
    if args.images is None:  # a Jetson has no data set, unless one is named: parity on the shipped crops instead
        args.images = 0 if here and args.data == "synthetic" else IMAGES
    for wrong, message in (
        (args.target is not None and not here, f"--target {args.target} is not this device: leave it out"),
        (here and args.threads != ["1"], "--threads has no effect on engines"),
        (args.images < 0, "--images must be 0 or more"),
        (not 1 <= args.rounds <= 1000, "--rounds must be from 1 to 1000"),
        (not 0 < args.seconds <= 600, "--seconds must be above 0 and up to 600"),  # nor nan
        (args.mediapipe and not {"mediapipe", ALL} & set(args.peers), "--mediapipe has no effect without --peers"),
        (args.images == 0 and args.data != "synthetic", "--data has no effect with --images 0"),
        (args.images == 0 and args.pictures, "--pictures has no effect with --images 0"),
    ):
        if wrong:
            raise UserError(message)
    args.threads = tuple(dict.fromkeys(count for word in args.threads for count in thread_counts(word)))
    if here:
        onnx = [path for path in args.model if path.suffix == ".onnx"]  # an engine takes the place of each
        engines = prepare_engines(onnx, args.target) if onnx else []
        args.model = list(dict.fromkeys([*engines, *(set(args.model) - set(onnx))]))
    return args


if __name__ == "__main__":
    run_command(main)
