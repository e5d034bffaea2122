"""What really changed between two files of records: `python benchmarks/compare.py OLD NEW`.

A difference is noise where its 95 % interval holds zero; it is real otherwise, and a regression where the whole
interval lies beyond the threshold. Intervals come from resampling blocks (time) and images (accuracy, where the raw
samples lie beside the records; without them the figures are taken as exact). Time is compared on the same device alone.
Artefacts are judged; from the probes follows whether the machine itself has changed. Exit code 1 on a regression or
where an artefact of OLD does not run any more, 2 on a mistake.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

if not __package__:  # run as a file: packages are found from the project's root, and this folder hides none
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.measure.stats import Interval, change, mean_interval
from benchmarks.records.raw_samples import Arrays, artifact_key, read_samples, samples_path
from benchmarks.records.record import DOUBTFUL, FAILED, FINISHED, NOT_RUN, PROFILING, Record, read_records
from benchmarks.records.screen import print_table
from runtime.errors import CommandParser, UserError, run_command

# From the worst to what needs no look.
VERDICTS = REGRESSION, REAL, IMPROVEMENT, NOISE, SAME = ("REGRESSION", "real, small", "improvement", "noise", "same")


@dataclass(frozen=True)
class Thresholds:
    """From which on a real change is a regression."""

    latency_pct: float = 5.0
    accuracy_mm: float = 0.1
    size_pct: float = 2.0


@dataclass(frozen=True)
class Difference:
    """NEW less OLD of one figure of one row; more is worse."""

    row: str
    threads: int | None
    figure: str
    unit: str
    old: float
    new: float
    change: Interval  # per cent, or mm
    threshold: float
    doubtful: bool = False  # either record doubts its own figures

    @property
    def verdict(self) -> str:
        """Say what the difference is."""
        if self.change.low <= 0 <= self.change.high:
            return NOISE if self.change.low < self.change.high else SAME
        if self.change.low > self.threshold:
            return REGRESSION
        return IMPROVEMENT if self.change.high < -self.threshold else REAL


@dataclass(frozen=True)
class Comparison:
    """Of two files."""

    differences: tuple[Difference, ...]
    broken: tuple[str, ...]  # rows that no longer run
    notes: tuple[str, ...]  # what could not be compared, and why

    @property
    def regressed(self) -> bool:
        """Say whether NEW must not replace OLD."""
        return bool(self.broken) or any(difference.verdict == REGRESSION for difference in self.differences)


def compare(
    old: Sequence[Record], new: Sequence[Record], old_samples: Arrays, new_samples: Arrays, limits: Thresholds
) -> Comparison:
    """Compare row by row. UserError where the files have no finished artefact in common."""
    found = {record.key: record for record in new}
    finished = [row for row in old if row.kind == "artifact" and row.verdict.status in (FINISHED, DOUBTFUL)]
    pairs = [(before, found.get(before.key)) for before in finished]
    missing = [f"{title_of(row)} is not in NEW" for row, after in pairs if after is None or _status(after) == NOT_RUN]
    if len(missing) == len(finished):
        raise UserError("the two files have no finished artefact in common: nothing can be compared")
    differences: list[Difference] = []
    broken: list[str] = []
    notes = [*_machine_notes(old, found, limits), *missing]
    for before, after in pairs:
        if after is None or _status(after) == NOT_RUN:
            continue
        if _status(after) in (FAILED, PROFILING):
            broken.append(f"{title_of(before)}: {_status(after)} {'; '.join(after.verdict.reasons)}".strip())
            continue
        for result in (
            _size(before, after, limits),
            _latency(before, after, limits),
            _accuracy(before, after, old_samples, new_samples, limits),
        ):
            if isinstance(result, str):
                notes.append(f"{title_of(before)}: {result}")
            elif result is not None:
                differences.append(result)
    return Comparison(tuple(differences), tuple(broken), tuple(dict.fromkeys(notes)))


def _status(record: Record) -> str:
    return record.verdict.status


def _machine_notes(
    old: Sequence[Record], found: Mapping[tuple[str, int | None], Record], limits: Thresholds
) -> Iterator[str]:
    """Name limits of the machine that are not what they were: then every time is suspect."""
    for before in old:
        after = found.get(before.key)
        if before.kind == "probe" and after is not None and before.latency_ms and after.latency_ms:
            found_difference = _latency(before, after, limits)
            if isinstance(found_difference, Difference) and found_difference.verdict in (REGRESSION, IMPROVEMENT):
                slower_pct = found_difference.change.estimate
                yield f"the machine itself changed: {title_of(before)} take {slower_pct:+.0f} % more time"


def title_of(record: Record) -> str:
    """Return a row's name with its threads."""
    threads = record.runtime.threads
    return record.name if threads is None else f"{record.name} ({threads} thread{'s' if threads > 1 else ''})"


def _latency(before: Record, after: Record, limits: Thresholds) -> Difference | str:
    a, b = before.device, after.device
    if (a.name, a.soc, a.cores, a.power_mode) != (b.name, b.soc, b.cores, b.power_mode):
        return f"time is not compared, OLD is of {a.name}, NEW of {b.name}"
    assert before.latency_ms is not None and after.latency_ms is not None  # of finished records
    delta = change(np.array(before.latency_ms.blocks_p50), np.array(after.latency_ms.blocks_p50))
    percent = Interval(*(100 * value for value in (delta.estimate, delta.low, delta.high)))
    doubtful = DOUBTFUL in (_status(before), _status(after))
    values = (before.latency_ms.p50, after.latency_ms.p50)
    return Difference(*before.key, "p50", "ms", *values, percent, limits.latency_pct, doubtful)


def _size(before: Record, after: Record, limits: Thresholds) -> Difference | None:
    old, new = before.artifact.bytes, after.artifact.bytes
    if not old or new is None:
        return None
    percent = 100 * (new / old - 1)
    exact = Interval(percent, percent, percent)
    return Difference(*before.key, "size", "MB", old / 1e6, new / 1e6, exact, limits.size_pct)


def _accuracy(
    before: Record, after: Record, old_samples: Arrays, new_samples: Arrays, limits: Thresholds
) -> Difference | str | None:
    """Compare the errors; None where OLD has none; why they cannot be compared."""
    old, new = before.accuracy, after.accuracy
    if old is None or old.mpjpe_mm is None:
        return None
    if new is None or new.mpjpe_mm is None:
        return "NEW has no accuracy"
    if (old.dataset, old.protocol, old.n_images) != (new.dataset, new.protocol, new.n_images):
        sides = [f"{side.n_images} x {side.dataset}, {side.protocol}" for side in (old, new)]
        return f"accuracy is not compared, OLD is of {sides[0]}, NEW of {sides[1]}"
    key = artifact_key(before.name, "joint_mm")
    delta = _paired(old_samples.get(key), new_samples.get(key), new.mpjpe_mm - old.mpjpe_mm)
    return Difference(*before.key, "MPJPE", "mm", old.mpjpe_mm, new.mpjpe_mm, delta, limits.accuracy_mm)


def _paired(old_mm: np.ndarray | None, new_mm: np.ndarray | None, plain_mm: float) -> Interval:
    """Return the interval image by image where both have raw errors; else the plain difference, as if it were exact."""
    exact = Interval(plain_mm, plain_mm, plain_mm)
    if old_mm is None or new_mm is None or old_mm.shape != new_mm.shape or old_mm.ndim != 3 or new_mm.dtype.kind != "f":
        return exact
    counted = ~np.isnan(old_mm).all(axis=(1, 2)) & ~np.isnan(new_mm).all(axis=(1, 2))
    if not counted.any():
        return exact
    drawn = mean_interval(np.nanmean(new_mm[counted], axis=(1, 2)) - np.nanmean(old_mm[counted], axis=(1, 2)))
    return Interval(plain_mm, drawn.low, drawn.high)


def print_comparison(comparison: Comparison) -> None:
    """Print a line per figure, the worst first, and one of what follows."""
    rows: list[tuple[str, ...]] = [("row", "threads", "figure", "old", "new", "change", "95 % interval", "")]
    for d in sorted(comparison.differences, key=lambda difference: VERDICTS.index(difference.verdict)):
        unit = "mm" if d.unit == "mm" else "%"
        span = f"{d.change.low:+.2f} to {d.change.high:+.2f} {unit}"
        said = f"{d.verdict}{' (doubtful rows)' if d.doubtful else ''}"
        threads = "-" if d.threads is None else str(d.threads)
        figures = (f"{d.old:.3f}", f"{d.new:.3f} {d.unit}", f"{d.change.estimate:+.2f} {unit}", span)
        rows.append((d.row, threads, d.figure, *figures, said))
    print_table(rows, left=(0, 7))
    for line in comparison.broken:
        print(f"no longer runs: {line}")
    for line in comparison.notes:
        print(f"note: {line}")
    print("regressed" if comparison.regressed else "no regression")


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and compare."""
    args = _parse(arguments)
    limits = Thresholds(args.latency_pct, args.accuracy_mm, args.size_pct)
    old, new = read_records(args.old), read_records(args.new)
    old_samples, new_samples = read_samples(samples_path(args.old)), read_samples(samples_path(args.new))
    comparison = compare(old, new, old_samples, new_samples, limits)
    print_comparison(comparison)
    return int(comparison.regressed)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__ or "")
    default = Thresholds()
    parser.add_argument("old", type=Path, metavar="OLD", help="records to compare with")
    parser.add_argument("new", type=Path, metavar="NEW", help="records to judge")
    parser.add_argument("--latency-pct", type=float, default=default.latency_pct, metavar="P", help="of the median")
    parser.add_argument("--accuracy-mm", type=float, default=default.accuracy_mm, metavar="MM", help="of the MPJPE")
    parser.add_argument("--size-pct", type=float, default=default.size_pct, metavar="P", help="of the file")
    args = parser.parse_args(arguments)
    for name in ("latency_pct", "accuracy_mm", "size_pct"):
        value = getattr(args, name)
        if not (math.isfinite(value) and value >= 0):
            raise UserError(f"--{name.replace('_', '-')} {value} must be 0 or more")
    return args


if __name__ == "__main__":
    run_command(main)
