"""What follows from the rows of one run at one number of threads: ratios, shares of the limits, losses to fp32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.measure.limits import machine_limits, share_of_limit
from benchmarks.measure.stats import ratio
from benchmarks.records.record import Ratio, Record

NO_BASELINE = "the fp32 file of the same network is not among the rows: see --peers fp32"
NO_LIMIT = "no probe was timed, or the products of the row are not known"


def derived(rows: Sequence[Record], baselines: Mapping[str, str | None]) -> list[Record]:
    """Return the rows, timed in turn with each other, with all that follows from them.

    baselines: the name of each row's fp32 file, None where it is not among the rows.
    """
    by_name = {row.name: row for row in rows}
    limits = machine_limits(rows)
    others = [row for row in rows if row.kind != "probe"]
    found = []
    for row in rows:
        if row.kind == "probe":
            found.append(replace(row, limit=limits.get(row.name)))
            continue
        baseline = by_name.get(baselines[row.name] or "")
        limit = share_of_limit(row, limits)
        reasons = {
            **({} if baseline else {"times_faster": NO_BASELINE}),
            **({} if limit else {"limit": NO_LIMIT}),
        }
        found.append(
            replace(
                with_delta(row, baseline),
                times_faster=None if baseline is None or baseline is row else time_ratio(baseline, row),
                relative_time={o.name: r for o in others if o is not row and (r := time_ratio(row, o)) is not None},
                limit=limit,
                not_measured={**row.not_measured, **reasons},
            )
        )
    return found


def time_ratio(row: Record, other: Record) -> Ratio | None:
    """Divide a row's time by that of another row of the same rounds; None where one was not timed."""
    if row.latency_ms is None or other.latency_ms is None:
        return None
    own, others = np.array(row.latency_ms.blocks_p50), np.array(other.latency_ms.blocks_p50)
    return ratio(own, others) if len(own) == len(others) else None


def with_delta(row: Record, baseline: Record | None) -> Record:
    """Return the row with what its accuracy lost to fp32, where both saw the same images."""
    own, other = row.accuracy, None if baseline is None else baseline.accuracy
    if own is None or other is None or own.mpjpe_mm is None or other.mpjpe_mm is None:
        return row
    if (own.dataset, own.protocol, own.n_images) != (other.dataset, other.protocol, other.n_images):
        return row
    return replace(row, accuracy=replace(own, delta_vs_fp32_mm=own.mpjpe_mm - other.mpjpe_mm))
