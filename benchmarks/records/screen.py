"""The rows of a run as a table in the terminal, with everything that speaks against them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.records.columns import COLUMNS, interval
from benchmarks.records.record import NOT_RUN, Record
from training.evaluation.points import HEADINGS, NOTE, point_cells
from training.evaluation.text_table import print_columns

FILE_HEADINGS = ("file", *HEADINGS)
SHOWN = ("name", "size_mb", "mpjpe_mm", "delta_vs_fp32_mm", "p50_ms", "p99_ms", "rss_peak_mb")


def point_tables(records: Iterable[Record]) -> dict[str, list[tuple[str, ...]]]:
    """Return figures in the picture as rows under FILE_HEADINGS by data set, each file once; apart from millimetres."""
    found: dict[str, dict[tuple[str, str], tuple[str, ...]]] = {}
    for record in records:
        for part in record.points:
            found.setdefault(part.dataset, {})[record.name, part.kind] = (record.name, *point_cells(part))
    return {dataset: list(rows.values()) for dataset, rows in found.items()}


def print_run(records: Sequence[Record]) -> None:
    """Print one table per number of threads, then what holds for all of them."""
    ran = [record for record in records if record.verdict.status != NOT_RUN]
    for threads in dict.fromkeys(record.runtime.threads for record in ran):
        print_rows([record for record in ran if record.runtime.threads == threads])
    data = next((record.accuracy for record in records if record.accuracy), None)
    if data is not None:
        print(f"accuracy: {data.dataset}, {data.n_images} images, protocol {data.protocol}")
    for dataset, rows in point_tables(ran).items():
        print(f"\nin the picture, {dataset}")
        print_columns([FILE_HEADINGS, *rows], left=(0, 1))
    if any(record.points for record in ran):
        print(NOTE)
    for record in records:
        if record.verdict.status == NOT_RUN:
            print(f"not run, {record.name}: {'; '.join(record.verdict.reasons)}")


def print_rows(rows: Sequence[Record]) -> None:
    """Print the rows of one number of threads, ratios to peers, and doubts."""
    threads = rows[0].runtime.threads
    print(f"\n{rows[0].device.name}, {'no setting of threads' if threads is None else f'threads: {threads}'}")
    table = [(*(COLUMNS[key].title for key in SHOWN), "x fp32", "verdict")]
    for row in rows:
        table.append((*(COLUMNS[key].text(row) for key in SHOWN), interval(row.times_faster), row.verdict.status))
    print_columns(table, left=(0, len(SHOWN) + 1))
    peers = [row for row in rows if row.kind == "peer" and row.times_faster is None]  # other networks
    for row in (row for row in rows if row.kind == "artifact"):
        for peer in peers:
            if peer.name in row.relative_time and peer.variant in (None, row.variant):
                print(f"  {row.name} takes {interval(row.relative_time[peer.name])} of the time of {peer.name}")
    for row in rows:
        if row.verdict.reasons:
            print(f"  {row.name}: {'; '.join(row.verdict.reasons)}")
