"""Measure exported files on this device, beside their peers.

python benchmarks/run.py --model FILE... --peers all --mediapipe WHEEL --threads 1 all -o records.jsonl

Accuracy, time and memory are of the same file through the same runner; all candidates are timed in turn, block by
block. Rows are written as PROFILING before anything is measured, so that a crash or a kill leaves a trace, and filled
in as they are done; raw samples lie beside the records (.npz). What speaks against a figure stands in its row.

On a Jetson, `--target` with its own name builds an engine of each ONNX file, where there is none, and measures those;
elsewhere it predicts a lower bound.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

if not __package__:  # run as a file: packages are found from the project's root, and this folder hides none
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.candidates.candidate import Candidate
from benchmarks.candidates.facts import artifact_candidate
from benchmarks.candidates.peers import ALL, PEERS, Setting, make_peers
from benchmarks.candidates.planned_rows import Plan, draft
from benchmarks.devices.device_facts import available_cores, is_this_jetson
from benchmarks.measure.latency import SCHEDULE
from benchmarks.measure.probes import write_probes
from benchmarks.records.record import FAILED, Record
from benchmarks.records.run_records import Sheet, make_way
from benchmarks.records.screen import print_absent, print_rows
from compress.check.timing import Schedule
from compress.device_profile import load_profile
from compress.tensorrt.engine_file import prepare_engines
from runtime.errors import CommandParser, UserError, run_command
from targets import THIS_MACHINE

ALL_THREADS = "all"
MAX_THREADS = 256
IMAGES = 1000


@dataclass(frozen=True)
class RunRequest:
    """What to measure, and how."""

    models: tuple[Path, ...]
    output: Path
    targets: tuple[str, ...] = (THIS_MACHINE,)
    data: str = "synthetic"
    images: int = IMAGES  # 0: no accuracy
    threads: tuple[int, ...] = (1,)
    peers: tuple[str, ...] = ()
    mediapipe: Path | None = None
    device: str = "auto"
    hand_model: Path | None = None
    schedule: Schedule = SCHEDULE
    overwrite: bool = False


def run(request: RunRequest) -> list[Record]:
    """Measure all that is asked for; the records, which are in the file, too. UserError for what the user can mend."""
    from benchmarks.measure.session import fill_in, measure_accuracies, measure_latencies, measure_memories

    targets = tuple(load_profile(name) for name in dict.fromkeys(request.targets))
    artifacts = [artifact_candidate(path, request.device, request.hand_model) for path in request.models]
    make_way(request.output, request.overwrite)
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(tuple(artifacts), Path(folder), request.mediapipe)
        peers, absent = make_peers(request.peers, setting)
        candidates = (*artifacts, *peers, *write_probes(Path(folder)))
        check_names(candidates)
        plan = Plan(candidates, absent, request.threads, request.schedule, targets, command_line())
        sheet = Sheet(request.output, draft(plan))
        measure_memories(plan, sheet)
        measure_accuracies(plan, sheet, request.data, request.images, request.hand_model)
        for threads in request.threads:
            measure_latencies(plan, sheet, threads)
            fill_in(plan, sheet, threads)
    return sheet.records


def check_names(candidates: Sequence[Candidate]) -> None:
    """Rows are told apart by their names, which are the files' own."""
    seen: dict[str, Candidate] = {}
    for candidate in candidates:
        if candidate.name in seen:
            raise UserError(f"two rows would be called '{candidate.name}': give files of different names")
        seen[candidate.name] = candidate


def command_line() -> str:
    """That began this run, without the machine's own folders."""

    def shown(word: str) -> str:
        path = Path(word)
        if not path.is_absolute():
            return word
        return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name

    return shlex.join(["python", *map(shown, sys.argv)])


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, measure, print the table. Exit code 1 where a row failed."""
    args = _parse(arguments)
    here = len(args.target) == 1 and is_this_jetson(args.target[0])
    models = with_engines(args) if here else args.model
    if args.images is None:  # a Jetson has no data set, unless one is named: parity on the shipped crops instead
        args.images = 0 if here and args.data == "synthetic" else IMAGES
    schedule = replace(SCHEDULE, rounds=args.rounds, block_seconds=args.seconds)
    request = RunRequest(
        models=tuple(models),
        output=args.output,
        targets=tuple(args.target),
        data=args.data,
        images=args.images,
        threads=tuple(dict.fromkeys(thread_count(word) for word in args.threads)),
        peers=tuple(args.peers),
        mediapipe=args.mediapipe,
        device=args.device,
        hand_model=args.hand_model,
        schedule=replace(schedule, warmup_seconds=min(SCHEDULE.warmup_seconds, args.seconds)),
        overwrite=args.overwrite,
    )
    records = run(request)
    print_rows(records)
    print_absent(records)
    print(f"{len(records)} records in {args.output}; next: python benchmarks/report.py {args.output} -o report.html")
    return int(any(record.verdict.status == FAILED for record in records))


def with_engines(args: argparse.Namespace) -> list[Path]:
    """Return the files to measure on a Jetson: an engine in the place of each ONNX file. They are built beside them."""
    if args.threads != ["1"]:
        raise UserError("--threads has no effect on engines")
    onnx = [path for path in args.model if path.suffix == ".onnx"]
    engines = prepare_engines(onnx, args.target[0]) if onnx else []
    return [*engines, *(path for path in args.model if path.suffix != ".onnx" and path not in engines)]


def thread_count(word: str) -> int:
    """`all` or a number."""
    if word == ALL_THREADS:
        return available_cores()
    if not word.isdecimal() or not 1 <= int(word) <= MAX_THREADS:
        raise UserError(f"--threads '{word}' is neither a number from 1 to {MAX_THREADS} nor '{ALL_THREADS}'")
    return int(word)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__ or "")
    parser.add_argument("--model", type=Path, nargs="+", required=True, metavar="FILE", help="exported models")
    parser.add_argument("-o", "--output", type=Path, default=Path("records.jsonl"), metavar="FILE")
    parser.add_argument(
        "--target", nargs="+", default=[THIS_MACHINE], metavar="T", help="devices to predict a lower bound for"
    )
    parser.add_argument("--data", default="synthetic", help="'synthetic' or a folder in InterHand2.6M's layout")
    parser.add_argument("--images", type=int, metavar="N", help=f"of the test split, {IMAGES} unless said; 0: none")
    parser.add_argument("--threads", nargs="+", default=["1"], metavar="N", help="numbers, or 'all'")
    parser.add_argument("--peers", nargs="+", default=[], metavar="PEER", help=f"{', '.join(PEERS)} or {ALL}")
    parser.add_argument("--mediapipe", type=Path, metavar="WHEEL", help="the wheel with MediaPipe's networks")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda, for the artefacts")
    parser.add_argument("--hand-model", type=Path, metavar="FILE", help="that the models were trained on")
    parser.add_argument("--rounds", type=int, default=SCHEDULE.rounds, metavar="N", help="blocks of each candidate")
    parser.add_argument(
        "--seconds", type=float, default=SCHEDULE.block_seconds, metavar="S", help="after which a block ends"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the records; the old ones are kept beside")
    args = parser.parse_args(arguments)
    if args.images is not None and args.images < 0:
        raise UserError("--images must be 0 or more")
    if not 1 <= args.rounds <= 1000:
        raise UserError("--rounds must be from 1 to 1000")
    if not 0 < args.seconds <= 600:
        raise UserError("--seconds must be above 0 and up to 600")
    if args.mediapipe is not None and not {"mediapipe", ALL} & set(args.peers):
        raise UserError("--mediapipe has no effect without --peers mediapipe")
    return args


if __name__ == "__main__":
    run_command(main)
