"""What really changed between two files of records: `python benchmarks/compare.py OLD NEW`.

A difference in time is noise where its 95 % interval, of resampled blocks, holds zero, and a regression where the whole
interval lies beyond --latency-pct; an error is one beyond --accuracy-mm. Figures of other devices or images are not
compared. Exit code 1 where a file of this project regressed or does not run any more, 2 on a mistake.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

if not __package__:  # run as a file: packages are found from the project's root, and this folder hides none
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.measure.stats import change
from benchmarks.records.record import FAILED, PROFILING, Record, read_records
from runtime.errors import CommandParser, UserError, run_command
from training.evaluation.text_table import print_columns

LATENCY_PCT, ACCURACY_MM = 5.0, 0.1
NOISE, REAL, REGRESSION, SAME, ABSENT = "noise", "real", "REGRESSION", "same", "not compared"


class Difference(NamedTuple):
    """NEW beside OLD of one figure of one row."""

    row: Record  # of OLD
    figure: str  # "p50", "MPJPE", or why nothing is compared
    change: str  # for people
    verdict: str


def compare(
    old: Sequence[Record], new: Sequence[Record], latency_pct: float = LATENCY_PCT, accuracy_mm: float = ACCURACY_MM
) -> list[Difference]:
    """Compare row by row. UserError where the files have no finished artefact in common."""
    found = {record.key: record for record in new}
    result = []
    for before in (record for record in old if record.latency_ms is not None):
        after = found.get(before.key)
        if after is None or after.latency_ms is None:
            broken = after is not None and after.verdict.status in (FAILED, PROFILING)
            reason = "; ".join(after.verdict.reasons) if after is not None and broken else "it is not in NEW"
            result.append(Difference(before, reason, "", REGRESSION if broken else ABSENT))
        else:
            result += [_time(before, after, latency_pct), _error(before, after, accuracy_mm)]
    if all(one.verdict == ABSENT for one in result if one.row.kind == "artifact"):
        raise UserError("the two files have no finished artefact in common: nothing can be compared")
    return result


def _time(before: Record, after: Record, limit_pct: float) -> Difference:
    a, b = before.device, after.device
    assert before.latency_ms is not None and after.latency_ms is not None
    if (a.name, a.soc, a.cores, a.power_mode) != (b.name, b.soc, b.cores, b.power_mode):
        return Difference(before, f"time: OLD is of {a.name}, NEW of {b.name}", "", ABSENT)
    delta = change(np.array(before.latency_ms.blocks_p50), np.array(after.latency_ms.blocks_p50))
    verdict = NOISE if delta.low <= 0 <= delta.high else REGRESSION if 100 * delta.low > limit_pct else REAL
    span = f"{100 * delta.estimate:+.1f} % ({100 * delta.low:+.1f} to {100 * delta.high:+.1f})"
    return Difference(before, "p50", f"{before.latency_ms.p50:.3f} to {after.latency_ms.p50:.3f} ms, {span}", verdict)


def _error(before: Record, after: Record, limit_mm: float) -> Difference:
    a, b = before.accuracy, after.accuracy
    if a is None or b is None or a.mpjpe_mm is None or b.mpjpe_mm is None or before.group != after.group:
        return Difference(before, "accuracy: of other images, or of none", "", ABSENT)
    delta_mm = b.mpjpe_mm - a.mpjpe_mm
    verdict = SAME if delta_mm == 0 else REGRESSION if delta_mm > limit_mm else REAL
    return Difference(before, "MPJPE", f"{a.mpjpe_mm:.3f} to {b.mpjpe_mm:.3f} mm, {delta_mm:+.3f} mm", verdict)


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and compare; peers are no reason to fail: where they moved, the machine has."""
    parser = CommandParser(__doc__ or "")
    parser.add_argument("old", type=Path, metavar="OLD", help="records to compare with")
    parser.add_argument("new", type=Path, metavar="NEW", help="records to judge")
    parser.add_argument("--latency-pct", type=float, default=LATENCY_PCT, metavar="X", help=f"default: {LATENCY_PCT}")
    parser.add_argument("--accuracy-mm", type=float, default=ACCURACY_MM, metavar="X", help=f"default: {ACCURACY_MM}")
    args = parser.parse_args(arguments)
    found = compare(read_records(args.old), read_records(args.new), args.latency_pct, args.accuracy_mm)
    print_columns([(one.row.title, one.figure, one.change, one.verdict) for one in found], left=(0, 1, 2, 3))
    bad = {one.row.kind for one in found if one.verdict == REGRESSION}
    if "peer" in bad:
        print("note: peers changed, too: so did the machine, and every time is suspect")
    print("regressed" if "artifact" in bad else "no regression")
    return int("artifact" in bad)


if __name__ == "__main__":
    run_command(main)
