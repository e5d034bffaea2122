"""What really changed between two files of records: `python benchmarks/compare.py OLD NEW`.

A difference is noise where its 95 % interval holds zero; it is real otherwise, and a regression where the whole
interval lies beyond the threshold. Intervals of time come from resampling blocks; accuracy and size are compared as
they are. Time is compared on the same device alone. Exit code 1 on a regression or where a file of OLD does not run
any more, 2 on a mistake.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

if not __package__:  # run as a file: packages are found from the project's root, and this folder hides none
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.measure.stats import Interval, change
from benchmarks.records.columns import mpjpe_mm, size_mb
from benchmarks.records.record import FAILED, PROFILING, Record, read_records
from runtime.errors import CommandParser, UserError, run_command
from training.evaluation.text_table import print_columns

# From the worst to what needs no look.
VERDICTS = BROKEN, REGRESSION, REAL, IMPROVEMENT, NOISE, SAME, ABSENT = (
    *("no longer runs", "REGRESSION", "real, small", "improvement", "noise", "same"),
    "not compared",
)
# From which on a real change is a regression: %, mm, %.
LIMITS = {"p50": 5.0, "MPJPE": 0.1, "size": 2.0}
UNITS = {"p50": "ms", "MPJPE": "mm", "size": "MB"}


class Difference(NamedTuple):
    """NEW less OLD of one figure of one row; more is worse. Without figures where nothing could be compared."""

    row: str
    figure: str  # of LIMITS, or why nothing could be compared
    verdict: str
    values: tuple[float, float] | None = None
    change: Interval | None = None  # per cent, or mm


def compare(old: Sequence[Record], new: Sequence[Record], limits: dict[str, float]) -> list[Difference]:
    """Compare row by row. UserError where the files have no finished artefact in common."""
    found = {record.key: record for record in new}
    result: list[Difference] = []
    for before in (record for record in old if record.latency_ms is not None):
        after = found.get(before.key)
        if after is not None and after.verdict.status in (FAILED, PROFILING):
            result.append(Difference(_title(before), "; ".join(after.verdict.reasons), BROKEN))
        elif after is None or after.latency_ms is None:
            result.append(Difference(_title(before), "it is not in NEW", ABSENT))
        else:
            result += _differences(before, after, limits)
    kinds = {_title(record): record.kind for record in old}
    if all(one.verdict == ABSENT for one in result if kinds[one.row] == "artifact"):
        raise UserError("the two files have no finished artefact in common: nothing can be compared")
    return result


def _differences(before: Record, after: Record, limits: dict[str, float]) -> Iterator[Difference]:
    def judged(figure: str, values: tuple[float, float], delta: Interval) -> Difference:
        verdict = REAL
        if delta.low <= 0 <= delta.high:
            verdict = NOISE if delta.low < delta.high else SAME
        elif delta.low > limits[figure]:
            verdict = REGRESSION
        elif delta.high < -limits[figure]:
            verdict = IMPROVEMENT
        return Difference(_title(before), figure, verdict, values, delta)

    a, b = before.device, after.device
    assert before.latency_ms is not None and after.latency_ms is not None
    if (a.name, a.soc, a.cores, a.power_mode) == (b.name, b.soc, b.cores, b.power_mode):
        delta = change(np.array(before.latency_ms.blocks_p50), np.array(after.latency_ms.blocks_p50))
        percent = Interval(100 * delta.estimate, 100 * delta.low, 100 * delta.high)
        yield judged("p50", (before.latency_ms.p50, after.latency_ms.p50), percent)
    else:
        yield Difference(_title(before), f"time: OLD is of {a.name}, NEW of {b.name}", ABSENT)
    sizes = size_mb(before), size_mb(after)
    if sizes[0] and sizes[1] and before.kind == "artifact":
        yield judged("size", (sizes[0], sizes[1]), Interval(*[100 * (sizes[1] / sizes[0] - 1)] * 3))
    errors = mpjpe_mm(before), mpjpe_mm(after)
    if errors[0] is None or before.accuracy is None:
        return
    data = before.accuracy, after.accuracy
    if errors[1] is None or len({one and (one.dataset, one.protocol, one.n_images) for one in data}) > 1:
        yield Difference(_title(before), "accuracy: NEW is of other images, or of none", ABSENT)
        return
    yield judged("MPJPE", (errors[0], errors[1]), Interval(*[errors[1] - errors[0]] * 3))


def _title(record: Record) -> str:
    peer = "peer " if record.kind == "peer" else ""
    return f"{peer}{record.name} ({record.runtime.threads or '-'} threads)"


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and compare; peers are no reason to fail: where they moved, the machine has."""
    parser = CommandParser(__doc__ or "")
    parser.add_argument("old", type=Path, metavar="OLD", help="records to compare with")
    parser.add_argument("new", type=Path, metavar="NEW", help="records to judge")
    for flag, figure in (("--latency-pct", "p50"), ("--accuracy-mm", "MPJPE"), ("--size-pct", "size")):
        parser.add_argument(flag, type=float, dest=figure, default=LIMITS[figure], metavar="X", help=f"of the {figure}")
    args = parser.parse_args(arguments)
    limits = {figure: getattr(args, figure) for figure in LIMITS}
    if not all(0 <= limit < math.inf for limit in limits.values()):  # nor nan
        raise UserError("--latency-pct, --accuracy-mm and --size-pct must be 0 or more")
    found = compare(read_records(args.old), read_records(args.new), limits)
    rows: list[tuple[str, ...]] = [("row", "figure", "old", "new", "change", "95 % interval", "")]
    for one in sorted(found, key=lambda difference: VERDICTS.index(difference.verdict)):
        cells: tuple[str, ...] = ("", "", "", "")
        if one.values is not None and one.change is not None:
            unit = "mm" if one.figure == "MPJPE" else "%"
            texts = [f"{value:.3f} {UNITS[one.figure]}" for value in one.values]
            span = f"{one.change.low:+.2f} to {one.change.high:+.2f} {unit}"
            cells = (*texts, f"{one.change.estimate:+.2f} {unit}", span)
        rows.append((one.row, one.figure, *cells, one.verdict))
    print_columns(rows, left=(0, 1, 6))
    bad = any(one.verdict in (BROKEN, REGRESSION) and not one.row.startswith("peer ") for one in found)
    moved = any(one.verdict in (REGRESSION, IMPROVEMENT) and one.row.startswith("peer ") for one in found)
    if moved:
        print("note: peers changed, too: so did the machine, and every time is suspect")
    print("regressed" if bad else "no regression")
    return int(bad)


if __name__ == "__main__":
    run_command(main)
