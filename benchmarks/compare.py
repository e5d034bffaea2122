"""What really changed between two files of records: `python benchmarks/compare.py OLD NEW`.

A difference is noise where its 95 % interval holds zero; it is real otherwise, and a regression where the whole
interval lies beyond the threshold. Intervals come from resampling blocks (time) and images (accuracy, where the raw
samples lie beside the records; without them the figures are taken as exact). Time is compared on the same device alone.
Artefacts are judged; from the peers follows whether the machine itself has changed. Exit code 1 on a regression or
where an artefact of OLD does not run any more, 2 on a mistake.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

if not __package__:  # run as a file: packages are found from the project's root, and this folder hides none
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.measure.stats import Interval, change, mean_interval
from benchmarks.records.columns import size_mb
from benchmarks.records.raw_samples import Arrays, artifact_key, read_samples, samples_path
from benchmarks.records.record import DOUBTFUL, FAILED, PROFILING, Record, read_records
from runtime.errors import CommandParser, UserError, run_command
from training.evaluation.text_table import print_columns

# From the worst to what needs no look.
VERDICTS = REGRESSION, REAL, IMPROVEMENT, NOISE, SAME = ("REGRESSION", "real, small", "improvement", "noise", "same")
Limits = dict[str, float]
LIMITS: Limits = {"p50": 5.0, "MPJPE": 0.1, "size": 2.0}  # from which on a real change is a regression: %, mm, %


@dataclass(frozen=True)
class Difference:
    """NEW less OLD of one figure of one row; more is worse."""

    row: str
    figure: str  # of LIMITS
    old: str
    new: str
    change: Interval  # per cent, or mm
    limit: float
    doubtful: bool = False  # either record doubts its own figures

    @property
    def verdict(self) -> str:
        """Say what the difference is."""
        if self.change.low <= 0 <= self.change.high:
            return NOISE if self.change.low < self.change.high else SAME
        if self.change.low > self.limit:
            return REGRESSION
        return IMPROVEMENT if self.change.high < -self.limit else REAL


@dataclass(frozen=True)
class Comparison:
    """Of two files."""

    differences: list[Difference]
    broken: list[str]  # rows that no longer run
    notes: list[str]  # what could not be compared, and why

    @property
    def regressed(self) -> bool:
        """Say whether NEW must not replace OLD."""
        return bool(self.broken) or any(difference.verdict == REGRESSION for difference in self.differences)


def compare(old: Sequence[Record], new: Sequence[Record], samples: tuple[Arrays, Arrays], limits: Limits) -> Comparison:
    """Compare row by row. UserError where the files have no finished artefact in common."""
    found = {record.key: record for record in new}
    finished = [record for record in old if record.latency_ms is not None]
    result = Comparison([], [], [])
    compared = False
    for before in finished:
        after = found.get(before.key)
        if before.kind == "peer":  # of another time: the machine or the engine changed, and every time is suspect
            moved = None if after is None or after.latency_ms is None else _latency(before, after, limits)
            if isinstance(moved, Difference) and moved.verdict in (REGRESSION, IMPROVEMENT):
                percent = f"{moved.change.estimate:+.0f} %"
                result.notes.append(f"the machine itself changed: {moved.row} takes {percent} more time")
        elif after is not None and after.verdict.status in (FAILED, PROFILING):
            result.broken.append(f"{_title(before)}: {after.verdict.status} {'; '.join(after.verdict.reasons)}")
            compared = True
        elif after is None or after.latency_ms is None:
            result.notes.append(f"{_title(before)} is not in NEW")
        else:
            compared = True
            for one in _differences(before, after, samples, limits):
                if isinstance(one, Difference):
                    result.differences.append(one)
                else:
                    result.notes.append(f"{_title(before)}: {one}")
    if not compared:
        raise UserError("the two files have no finished artefact in common: nothing can be compared")
    return result


def _title(record: Record) -> str:
    threads = record.runtime.threads
    return record.name if threads is None else f"{record.name} ({threads} thread{'s' if threads > 1 else ''})"


def _differences(
    before: Record, after: Record, samples: tuple[Arrays, Arrays], limits: Limits
) -> Iterator[Difference | str]:
    """Yield what differs of two rows, or why it cannot be compared."""
    old_mb, new_mb = size_mb(before), size_mb(after)
    if old_mb and new_mb:
        percent = 100 * (new_mb / old_mb - 1)
        exact = Interval(percent, percent, percent)
        yield Difference(_title(before), "size", f"{old_mb:.3f} MB", f"{new_mb:.3f} MB", exact, limits["size"])
    yield _latency(before, after, limits)
    old, new = before.accuracy, after.accuracy
    if old is None or old.mpjpe_mm is None:
        return
    if new is None or new.mpjpe_mm is None:
        yield "NEW has no accuracy"
    elif (old.dataset, old.protocol, old.n_images) != (new.dataset, new.protocol, new.n_images):
        sides = [f"{side.n_images} x {side.dataset}, {side.protocol}" for side in (old, new)]
        yield f"accuracy is not compared, OLD is of {sides[0]}, NEW of {sides[1]}"
    else:
        old_mm, new_mm = (arrays.get(artifact_key(before.name, "joint_mm")) for arrays in samples)
        delta = _paired(old_mm, new_mm, new.mpjpe_mm - old.mpjpe_mm)
        texts = f"{old.mpjpe_mm:.3f} mm", f"{new.mpjpe_mm:.3f} mm"
        yield Difference(_title(before), "MPJPE", *texts, delta, limits["MPJPE"])


def _latency(before: Record, after: Record, limits: Limits) -> Difference | str:
    a, b = before.device, after.device
    if (a.name, a.soc, a.cores, a.power_mode) != (b.name, b.soc, b.cores, b.power_mode):
        return f"time is not compared, OLD is of {a.name}, NEW of {b.name}"
    assert before.latency_ms is not None and after.latency_ms is not None  # of finished records
    delta = change(np.array(before.latency_ms.blocks_p50), np.array(after.latency_ms.blocks_p50))
    percent = Interval(100 * delta.estimate, 100 * delta.low, 100 * delta.high)
    doubtful = DOUBTFUL in (before.verdict.status, after.verdict.status)
    texts = f"{before.latency_ms.p50:.3f} ms", f"{after.latency_ms.p50:.3f} ms"
    return Difference(_title(before), "p50", *texts, percent, limits["p50"], doubtful)


def _paired(old_mm: np.ndarray | None, new_mm: np.ndarray | None, plain_mm: float) -> Interval:
    """Return the interval image by image where both have raw errors; else the plain difference, as if it were exact."""
    if old_mm is not None and new_mm is not None and old_mm.shape == new_mm.shape and old_mm.ndim == 3:
        counted = ~np.isnan(old_mm).all(axis=(1, 2)) & ~np.isnan(new_mm).all(axis=(1, 2))
        if counted.any():
            drawn = mean_interval(np.nanmean(new_mm[counted], axis=(1, 2)) - np.nanmean(old_mm[counted], axis=(1, 2)))
            return Interval(plain_mm, drawn.low, drawn.high)
    return Interval(plain_mm, plain_mm, plain_mm)


def print_comparison(comparison: Comparison) -> None:
    """Print a line per figure, the worst first, and one of what follows."""
    rows: list[tuple[str, ...]] = [("row", "figure", "old", "new", "change", "95 % interval", "")]
    for one in sorted(comparison.differences, key=lambda difference: VERDICTS.index(difference.verdict)):
        unit = "mm" if one.figure == "MPJPE" else "%"
        span = f"{one.change.low:+.2f} to {one.change.high:+.2f} {unit}"
        said = f"{one.verdict}{' (doubtful rows)' if one.doubtful else ''}"
        rows.append((one.row, one.figure, one.old, one.new, f"{one.change.estimate:+.2f} {unit}", span, said))
    print_columns(rows, left=(0, 6))
    for line in comparison.broken:
        print(f"no longer runs: {line}")
    for line in comparison.notes:
        print(f"note: {line}")
    print("regressed" if comparison.regressed else "no regression")


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and compare."""
    parser = CommandParser(__doc__ or "")
    parser.add_argument("old", type=Path, metavar="OLD", help="records to compare with")
    parser.add_argument("new", type=Path, metavar="NEW", help="records to judge")
    for flag, figure in (("--latency-pct", "p50"), ("--accuracy-mm", "MPJPE"), ("--size-pct", "size")):
        parser.add_argument(flag, type=float, dest=figure, default=LIMITS[figure], metavar="X", help=f"of the {figure}")
    args = parser.parse_args(arguments)
    limits = {figure: getattr(args, figure) for figure in LIMITS}
    if not all(0 <= limit < math.inf for limit in limits.values()):  # nor nan
        raise UserError("--latency-pct, --accuracy-mm and --size-pct must be 0 or more")
    samples = read_samples(samples_path(args.old)), read_samples(samples_path(args.new))
    comparison = compare(read_records(args.old), read_records(args.new), samples, limits)
    print_comparison(comparison)
    return int(comparison.regressed)


if __name__ == "__main__":
    run_command(main)
