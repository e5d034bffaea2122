"""The rows of a run as a table in the terminal, with everything that speaks against them."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.records.columns import COLUMNS, interval
from benchmarks.records.record import NOT_RUN, Record

SHOWN = ("name", "size_mb", "mpjpe_mm", "delta_vs_fp32_mm", "p50_ms", "p99_ms", "limit_share_pct", "rss_peak_mb")


def print_run(records: Sequence[Record]) -> None:
    """Print one table per number of threads, then what holds for all of them."""
    ran = [record for record in records if record.verdict.status != NOT_RUN]
    for threads in dict.fromkeys(record.runtime.threads for record in ran):
        print_rows([record for record in ran if record.runtime.threads == threads])
    data = next((record.accuracy for record in records if record.accuracy), None)
    if data is not None:
        print(f"accuracy: {data.dataset}, {data.n_images} images, protocol {data.protocol}")
    for name, bounds in {record.name: record.predictions for record in ran}.items():
        for bound in bounds:
            print(f"{name} on {bound.target}: at least {bound.lower_bound_ms:.3f} ms (lower bound, not a measurement)")
    for record in records:
        if record.verdict.status == NOT_RUN:
            print(f"not run, {record.name}: {'; '.join(record.verdict.reasons)}")


def print_rows(rows: Sequence[Record]) -> None:
    """Print the rows of one number of threads, the machine's limits, ratios to peers, and doubts."""
    threads = rows[0].runtime.threads
    print(f"\n{rows[0].device.name}, {'no setting of threads' if threads is None else f'threads: {threads}'}")
    table = [(*(COLUMNS[key].title for key in SHOWN), "x fp32", "verdict")]
    for record in rows:
        if record.kind != "probe":
            figures = (COLUMNS[key].text(record) for key in SHOWN)
            table.append((*figures, interval(record.times_faster), record.verdict.status))
    print_table(table, left=(0, len(SHOWN) + 1))
    for record in rows:
        if record.kind == "probe" and record.limit is not None:
            print(f"  limit, {record.name}: {limit_text(record)}")
    peers = [row.name for row in rows if row.kind == "peer" and row.times_faster is None]  # other networks
    for record in rows:
        for name in peers if record.kind == "artifact" else ():
            other = next(row for row in rows if row.name == name)
            if name in record.relative_time and other.variant in (None, record.variant):
                print(f"  {record.name} takes {interval(record.relative_time[name])} of the time of {name}")
    for record in rows:
        if record.verdict.reasons:
            print(f"  {record.name}: {'; '.join(record.verdict.reasons)}")


def limit_text(record: Record) -> str:
    """Return a probe's figure with its unit; empty where the row is none."""
    limit = record.limit
    if limit is None or record.kind != "probe":
        return ""
    if limit.us is not None:
        return f"{limit.us:.2f} us each"
    return f"{limit.gb_s:.0f} GB/s" if limit.gb_s is not None else f"{limit.gflops or 0:.0f} Gop/s"


def print_table(rows: Sequence[Sequence[str]], left: Sequence[int]) -> None:
    """Print columns as wide as they need be, all but those named `left` aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        pairs = enumerate(zip(row, widths, strict=True))
        sides = [text.ljust(width) if i in left else text.rjust(width) for i, (text, width) in pairs]
        print("  ".join(sides).rstrip())
