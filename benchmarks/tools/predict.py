"""Lower bounds of files on devices that are not at hand, and how far off they are on this one.

python -m benchmarks.tools.predict --model FILE... [--target jetson-orin-nano] [--threads N] [--modules]

For this machine (the default target) the limits are probed, the files are timed in turn with the probes, and each
module's bound stands beside what onnxruntime's profiler measured of it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.candidates.candidate import PEER, Candidate, noise_picture
from benchmarks.candidates.engines import open_candidate
from benchmarks.measure.graph_cost import gmac, read_layers
from benchmarks.measure.latency import time_candidates
from benchmarks.measure.node_times import WHOLE_GRAPH, module_of, module_times_ms
from benchmarks.measure.probes import PROBES, write_probes
from benchmarks.measure.roofline import NOTE, Bound, Ceilings, bounds, ceilings_of, measured_ceilings, total_ms
from benchmarks.records.screen import number, print_table
from benchmarks.run import thread_count
from compress.check.timing import Schedule
from compress.device_profile import load_profile
from runtime.backends.opening import check_model_file
from runtime.errors import CommandParser, UserError, run_command
from targets import THIS_MACHINE

SCHEDULE = Schedule(rounds=8, block_seconds=1.0, block_runs=100, warmup_seconds=0.5)
PROFILED_RUNS = 60
AIM = 1.6  # measured by predicted, on this machine
SHOWN_PART = 0.01  # of the whole time, from which on a module has a line of its own


@dataclass(frozen=True)
class Check:
    """A file's bound on this machine beside its measurement."""

    bound_ms: float
    measured_ms: float
    modules: Mapping[str, tuple[float, float]]  # bound, measured; by module

    @property
    def measured_by_predicted(self) -> float:
        """1: at the limit."""
        return self.measured_ms / self.bound_ms


def check_files(paths: Sequence[Path], threads: int, schedule: Schedule = SCHEDULE) -> tuple[Ceilings, list[Check]]:
    """Probe this machine, time the files in turn with the probes, profile them, and set both side by side."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Candidate(f"file {i}", PEER, "onnxruntime", (str(path),)) for i, path in enumerate(paths)]
        opened = {c.name: open_candidate(c, threads, noise_picture()) for c in (*files, *write_probes(Path(folder)))}
        timed = time_candidates(opened, schedule, noise_picture(), None, "this machine")
    limits = {name: probe.limit(timed[name].latency.p50) for name, probe in PROBES.items()}
    ceilings = measured_ceilings(limits, THIS_MACHINE, threads)
    checks = []
    for candidate, path in zip(files, paths, strict=True):
        layers = read_layers(path, ceilings.fuses)
        parts = bounds(layers, ceilings)
        measured = module_times_ms(path, layers, threads, PROFILED_RUNS)
        predicted = by_module(parts)
        modules = {m: (predicted.get(m, 0.0), measured.get(m, 0.0)) for m in dict.fromkeys([*predicted, *measured])}
        checks.append(Check(total_ms(parts), timed[candidate.name].latency.p50, modules))
    return ceilings, checks


def by_module(parts: Sequence[Bound]) -> dict[str, float]:
    """Bounds added up by the network's modules."""
    sums: dict[str, float] = defaultdict(float)
    for part in parts:
        sums[module_of(part.layer.name) or WHOLE_GRAPH] += part.ms
    return dict(sums)


def print_check(path: Path, check: Check, modules: bool) -> None:
    """The error in all, and by module."""
    if modules:
        small = [m for m, ms in check.modules.items() if max(ms) < SHOWN_PART * check.measured_ms]
        shown = {m: ms for m, ms in check.modules.items() if m not in small}
        shown["(smaller ones)"] = tuple(sum(check.modules[m][i] for m in small) for i in range(2))  # type: ignore[assignment]
        rows = [("module", "at least ms", "profiled ms", "profiled / bound")]
        for module, (bound_ms, measured_ms) in shown.items():
            ratio = measured_ms / bound_ms if bound_ms else None
            rows.append((module, number(bound_ms, 3), number(measured_ms, 3), number(ratio, 2)))
        print_table(rows)
    verdict = "within" if check.measured_by_predicted <= AIM else "not within"
    print(
        f"{path.name}: at least {check.bound_ms:.2f} ms ({NOTE}), measured {check.measured_ms:.2f} ms: "
        f"{check.measured_by_predicted:.2f} times the bound, {verdict} a factor of {AIM}"
    )


def print_bound(path: Path, ceilings: Ceilings, modules: bool) -> None:
    """A device that is not at hand."""
    layers = read_layers(path, ceilings.fuses)
    parts = bounds(layers, ceilings)
    if modules:
        print_table([("module", "at least ms"), *((m, number(ms, 4)) for m, ms in by_module(parts).items())])
    by_memory = sum(part.ms for part in parts if part.memory_ms > part.arithmetic_ms)
    launches = "launches counted" if ceilings.launch_us is not None else "launches not counted: their cost is unknown"
    print(
        f"{path.name} on {ceilings.target}: at least {total_ms(parts):.3f} ms ({NOTE}; {launches}); "
        f"{gmac(layers):.3f} GMAC, {len(layers)} layers, {100 * by_memory / total_ms(parts):.0f} % of it by memory"
    )


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and print; exit code 1 where this machine's prediction misses the aim."""
    args = _parse(arguments)
    for path in args.model:
        check_model_file(path)
        if path.suffix != ".onnx":
            raise UserError(f"{path} does not show its graph: give the .onnx file")
    missed = False
    for name in args.target:
        target = load_profile(name)
        if target.name == THIS_MACHINE:
            ceilings, checks = check_files(args.model, thread_count(args.threads))
            for path, check in zip(args.model, checks, strict=True):
                print_check(path, check, args.modules)
            missed |= any(check.measured_by_predicted > AIM for check in checks)
        else:
            found = ceilings_of(target)
            if isinstance(found, str):
                raise UserError(f"{found}: nothing can be predicted for it")
            ceilings = found
            for path in args.model:
                print_bound(path, ceilings, args.modules)
        rates = ", ".join(f"{precision} {rate:.0f}" for precision, rate in ceilings.gflops.items())
        print(f"limits of {ceilings.target}: {rates} Gop/s, {ceilings.gb_s:.0f} GB/s ({'; '.join(ceilings.sources)})\n")
    return int(missed)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__ or "")
    parser.add_argument("--model", type=Path, nargs="+", required=True, metavar="FILE", help="ONNX files")
    parser.add_argument("--target", nargs="+", default=[THIS_MACHINE], metavar="T", help="device profiles")
    parser.add_argument("--threads", default="1", metavar="N", help="on this machine: a number, or 'all'")
    parser.add_argument("--modules", action="store_true", help="by module, too")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_command(main)
