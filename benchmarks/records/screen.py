"""The rows of a run as a table in the terminal, with everything that speaks against them."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.measure.roofline import NOTE
from benchmarks.records.record import DOUBTFUL, FAILED, NOT_RUN, Ratio, Record

COLUMNS = ("row", "MB", "MPJPE mm", "lost mm", "p50 ms", "p90 ms", "x fp32", "% of limit", "at least ms", "RSS MB", "")
RIGHT = range(1, len(COLUMNS) - 1)


def print_rows(records: Sequence[Record]) -> None:
    """One table per number of threads; probes after the others."""
    for threads in dict.fromkeys(r.runtime.threads for r in records if r.verdict.status != NOT_RUN):
        rows = [r for r in records if r.runtime.threads == threads and r.verdict.status != NOT_RUN]
        device = rows[0].device
        print(f"\n{device.name}, {'no setting of threads' if threads is None else f'threads: {threads}'}")
        print_table([COLUMNS, *(cells(record) for record in rows if record.kind != "probe")])
        for record in rows:
            if record.kind == "probe" and record.limit is not None:
                print(f"  limit, {record.name}: {limit_text(record)}")
        print_ratios(rows)
        for record in rows:
            if record.verdict.reasons:
                print(f"  {record.name}: {'; '.join(record.verdict.reasons)}")
    data = next((record.accuracy for record in records if record.accuracy), None)
    if data is not None:
        print(f"accuracy: {data.dataset}, {data.n_images} images, protocol {data.protocol}")
    print(f"at least ms: a roofline of this machine's measured limits, {NOTE}")


def cells(record: Record) -> tuple[str, ...]:
    """Of one row; what was not measured is a dash."""
    bound = next((p for p in record.predictions if p.measured_by_predicted is not None), None)
    size_mb = None if record.artifact.bytes is None else record.artifact.bytes / 1e6
    return (
        record.name,
        number(size_mb, 1),
        number(_of(record.accuracy, "mpjpe_mm"), 2),
        number(_of(record.accuracy, "delta_vs_fp32_mm"), 2),
        number(_of(record.latency_ms, "p50"), 2),
        number(_of(record.latency_ms, "p90"), 2),
        "-" if record.times_faster is None else interval(record.times_faster),
        number(_of(record.limit, "share_pct"), 0),
        number(_of(bound, "lower_bound_ms"), 2),
        number(_of(record.memory_mb, "rss_peak"), 0),
        record.verdict.status if record.verdict.status in (DOUBTFUL, FAILED) else "",
    )


def _of(part: object, field: str) -> float | None:
    """A field of what may not have been measured."""
    return None if part is None else getattr(part, field)


def print_ratios(rows: Sequence[Record]) -> None:
    """Artefacts beside peers that are other networks."""
    for record in rows:
        for name, ratio in record.relative_time.items():
            other = next(row for row in rows if row.name == name)
            another = other.variant in (None, record.variant) and other.times_faster is None
            if record.kind == "artifact" and other.kind == "peer" and another:
                print(f"  {record.name} takes {interval(ratio)} of the time of {name}")


def limit_text(record: Record) -> str:
    """A probe's figure with its unit."""
    limit = record.limit
    assert limit is not None
    if limit.us is not None:
        return f"{limit.us:.2f} us each"
    return f"{limit.gb_s:.0f} GB/s" if limit.gb_s is not None else f"{limit.gflops or 0:.0f} Gop/s"


def interval(ratio: Ratio) -> str:
    """`1.94 (1.90-1.98)`."""
    return f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"


def number(value: float | None, digits: int) -> str:
    """A dash for nothing."""
    return "-" if value is None else f"{value:.{digits}f}"


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they need be."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        pairs = enumerate(zip(row, widths, strict=True))
        sides = [text.rjust(width) if i in RIGHT else text.ljust(width) for i, (text, width) in pairs]
        print("  ".join(sides).rstrip())


def print_absent(records: Sequence[Record]) -> None:
    """Peers that did not run, and how to get them."""
    for record in records:
        if record.verdict.status == NOT_RUN:
            print(f"not run, {record.name}: {'; '.join(record.verdict.reasons)}")
