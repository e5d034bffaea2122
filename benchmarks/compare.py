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
from collections.abc import Mapping, Sequence
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

SAME, NOISE, REAL, REGRESSION, IMPROVEMENT = "same", "noise", "real, small", "REGRESSION", "improvement"


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
    change: Interval
    threshold: float
    doubtful: bool = False  # either record doubts its own figures

    @property
    def verdict(self) -> str:
        """What the difference is."""
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
        """Whether NEW must not replace OLD."""
        return bool(self.broken) or any(difference.verdict == REGRESSION for difference in self.differences)


def compare(
    old: Sequence[Record], new: Sequence[Record], old_samples: Arrays, new_samples: Arrays, limits: Thresholds
) -> Comparison:
    """Row by row. UserError where the files have no row in common."""
    found = {record.key: record for record in new}
    differences: list[Difference] = []
    broken: list[str] = []
    notes: list[str] = []
    shared = 0
    for before in old:
        if before.kind != "artifact" or before.verdict.status not in (FINISHED, DOUBTFUL):
            continue
        title = title_of(before)
        after = found.get(before.key)
        if after is None or after.verdict.status == NOT_RUN:
            notes.append(f"{title} is not in NEW")
            continue
        shared += 1
        if after.verdict.status in (FAILED, PROFILING):
            broken.append(f"{title}: {after.verdict.status} {'; '.join(after.verdict.reasons)}".strip())
            continue
        if (size := _size(before, after, limits)) is not None:
            differences.append(size)
        if same_device(before, after):
            differences.append(_latency(before, after, limits))
        else:
            notes.append(f"{title}: time is not compared, OLD is of {before.device.name}, NEW of {after.device.name}")
        accuracy = _accuracy(before, after, old_samples, new_samples, limits)
        if isinstance(accuracy, str):
            notes.append(f"{title}: {accuracy}")
        elif accuracy is not None:
            differences.append(accuracy)
    if not shared:
        raise UserError("the two files have no finished artefact in common: nothing can be compared")
    return Comparison(tuple(differences), tuple(broken), (*_machine_notes(old, found, limits), *dict.fromkeys(notes)))


def _machine_notes(
    old: Sequence[Record], found: Mapping[tuple[str, int | None], Record], limits: Thresholds
) -> list[str]:
    """Limits of the machine that are not what they were: then every time is suspect."""
    notes = []
    for before in old:
        after = found.get(before.key)
        if before.kind != "probe" or after is None or not before.latency_ms or not after.latency_ms:
            continue
        difference = _latency(before, after, limits)
        if same_device(before, after) and difference.verdict in (REGRESSION, IMPROVEMENT):
            slower = difference.change.estimate
            notes.append(f"the machine itself changed: {title_of(before)} take {slower:+.0f} % more time")
    return notes


def title_of(record: Record) -> str:
    """A row in words."""
    threads = record.runtime.threads
    return record.name if threads is None else f"{record.name} ({threads} thread{'s' if threads > 1 else ''})"


def same_device(first: Record, second: Record) -> bool:
    """Whether their times can be compared."""
    a, b = first.device, second.device
    return (a.name, a.soc, a.cores, a.power_mode) == (b.name, b.soc, b.cores, b.power_mode)


def _difference(
    before: Record, after: Record, figure: str, unit: str, values: tuple[float, float], delta: Interval, limit: float
) -> Difference:
    doubtful = DOUBTFUL in (before.verdict.status, after.verdict.status) and figure == "p50"
    return Difference(before.name, before.runtime.threads, figure, unit, *values, delta, limit, doubtful)


def _latency(before: Record, after: Record, limits: Thresholds) -> Difference:
    assert before.latency_ms is not None and after.latency_ms is not None  # of finished records
    delta = change(np.array(before.latency_ms.blocks_p50), np.array(after.latency_ms.blocks_p50))
    percent = Interval(*(100 * value for value in (delta.estimate, delta.low, delta.high)))
    values = (before.latency_ms.p50, after.latency_ms.p50)
    return _difference(before, after, "p50", "ms", values, percent, limits.latency_pct)


def _size(before: Record, after: Record, limits: Thresholds) -> Difference | None:
    old, new = before.artifact.bytes, after.artifact.bytes
    if not old or new is None:
        return None
    percent = 100 * (new / old - 1)
    exact = Interval(percent, percent, percent)
    return _difference(before, after, "size", "MB", (old / 1e6, new / 1e6), exact, limits.size_pct)


def _accuracy(
    before: Record, after: Record, old_samples: Arrays, new_samples: Arrays, limits: Thresholds
) -> Difference | str | None:
    """None where neither has one; why they cannot be compared."""
    old, new = before.accuracy, after.accuracy
    if old is None or old.mpjpe_mm is None:
        return None
    if new is None or new.mpjpe_mm is None:
        return "NEW has no accuracy"
    if (old.dataset, old.protocol, old.n_images) != (new.dataset, new.protocol, new.n_images):
        sides = [f"{side.n_images} x {side.dataset}, {side.protocol}" for side in (old, new)]
        return f"accuracy is not compared, OLD is of {sides[0]}, NEW of {sides[1]}"
    values = (old.mpjpe_mm, new.mpjpe_mm)
    delta = _paired(old_samples.get(artifact_key(before.name, "joint_mm")), new_samples, after.name, values)
    return _difference(before, after, "MPJPE", "mm", values, delta, limits.accuracy_mm)


def _paired(old_mm: np.ndarray | None, new_samples: Arrays, name: str, values: tuple[float, float]) -> Interval:
    """Image by image where both have raw errors; else the plain difference, as if it were exact."""
    plain = values[1] - values[0]
    new_mm = new_samples.get(artifact_key(name, "joint_mm"))
    usable = old_mm is not None and new_mm is not None and old_mm.shape == new_mm.shape and old_mm.ndim == 3
    if not usable or old_mm is None or new_mm is None or not np.issubdtype(new_mm.dtype, np.floating):
        return Interval(plain, plain, plain)
    counted = ~np.isnan(old_mm).all(axis=(1, 2)) & ~np.isnan(new_mm).all(axis=(1, 2))
    if not counted.any():
        return Interval(plain, plain, plain)
    per_image = np.nanmean(new_mm[counted], axis=(1, 2)) - np.nanmean(old_mm[counted], axis=(1, 2))
    drawn = mean_interval(per_image)
    return Interval(plain, drawn.low, drawn.high)


def print_comparison(comparison: Comparison) -> None:
    """A line per figure, the worst first, and one of what follows."""
    order = {REGRESSION: 0, REAL: 1, IMPROVEMENT: 2, NOISE: 3, SAME: 4}
    rows: list[tuple[str, ...]] = [("row", "threads", "figure", "old", "new", "change", "95 % interval", "")]
    for d in sorted(comparison.differences, key=lambda difference: order[difference.verdict]):
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
    sides = [(read_records(path), read_samples(samples_path(path))) for path in (args.old, args.new)]
    (old, old_samples), (new, new_samples) = sides
    comparison = compare(old, new, old_samples, new_samples, limits)
    print_comparison(comparison)
    return int(comparison.regressed)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__ or "")
    parser.add_argument("old", type=Path, metavar="OLD", help="records to compare with")
    parser.add_argument("new", type=Path, metavar="NEW", help="records to judge")
    default = Thresholds()
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
