"""The rows as a table: for the page, as CSV with every digit, as Markdown for a text."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from benchmarks.page.rows import Row
from benchmarks.records.record import Record
from benchmarks.records.screen import part_of

Value = str | float | None


@dataclass(frozen=True)
class Column:
    """One column; `digits` behind the point on the page and in Markdown, None for texts."""

    key: str  # in CSV, with the unit
    title: str
    value: Callable[[Record], Value]
    digits: int | None = None
    filtered: bool = False  # the page lets one choose among its values
    on_page: bool = True

    def text(self, record: Record) -> str:
        """Return the value as it is shown; a dash for nothing."""
        value = self.value(record)
        if value is None:
            return "-"
        return value if isinstance(value, str) else f"{value:.{self.digits or 0}f}"


def _threads(record: Record) -> Value:
    return None if record.runtime.threads is None else str(record.runtime.threads)


def _size_mb(record: Record) -> Value:
    return None if record.artifact.bytes is None else record.artifact.bytes / 1e6


def _dataset(record: Record) -> Value:
    return None if record.accuracy is None else record.accuracy.dataset


COLUMNS = (
    Column("name", "row", lambda r: r.name),
    Column("verdict", "verdict", lambda r: r.verdict.status.lower(), filtered=True),
    Column("kind", "kind", lambda r: r.kind, filtered=True),
    Column("precision", "precision", lambda r: r.artifact.precision, filtered=True),
    Column("engine", "engine", lambda r: r.runtime.name, filtered=True),
    Column("device", "device", lambda r: r.device.name, filtered=True),
    Column("threads", "threads", _threads, filtered=True),
    Column("size_mb", "MB", _size_mb, 2),
    Column("gmac", "GMAC", lambda r: r.artifact.gmac, 3, on_page=False),
    Column("mpjpe_mm", "MPJPE mm", lambda r: part_of(r.accuracy, "mpjpe_mm"), 2),
    Column("delta_vs_fp32_mm", "lost mm", lambda r: part_of(r.accuracy, "delta_vs_fp32_mm"), 2),
    Column("p50_ms", "p50 ms", lambda r: part_of(r.latency_ms, "p50"), 2),
    Column("p50_low_ms", "low", lambda r: part_of(r.latency_ms, "p50_low"), 2, on_page=False),
    Column("p50_high_ms", "high", lambda r: part_of(r.latency_ms, "p50_high"), 2, on_page=False),
    Column("p99_ms", "p99 ms", lambda r: part_of(r.latency_ms, "p99"), 2),
    Column("cv_pct", "CV %", lambda r: part_of(r.latency_ms, "cv_pct"), 1, on_page=False),
    Column("times_faster", "x fp32", lambda r: part_of(r.times_faster, "median"), 2),
    Column("limit_share_pct", "% of limit", lambda r: part_of(r.limit, "share_pct"), 0),
    Column("load_cold_ms", "load ms", lambda r: part_of(r.load_ms, "cold"), 0),
    Column("rss_peak_mb", "RSS MB", lambda r: part_of(r.memory_mb, "rss_peak"), 0),
    Column("gpu_ms", "GPU ms", lambda r: r.gpu_ms, 2),
    Column("energy_mj", "mJ", lambda r: r.energy_mj_per_frame, 1),
    Column("dataset", "data set", _dataset, filtered=True),
)
MARKDOWN = ("name", "threads", "size_mb", "mpjpe_mm", "delta_vs_fp32_mm", "p50_ms", "p99_ms", "times_faster", "verdict")


def all_columns(rows: Sequence[Row]) -> list[Column]:
    """Return the columns, one of lower bounds for every device that was predicted for."""
    bounds = (bound for row in rows for bound in row.record.predictions if bound.measured_by_predicted is None)
    targets = dict.fromkeys(bound.target for bound in bounds)
    return [*COLUMNS, *(_bound_column(target) for target in targets)]


def _bound_column(target: str) -> Column:
    def bound(record: Record) -> Value:
        return next((one.lower_bound_ms for one in record.predictions if one.target == target), None)

    return Column(f"at_least_ms_on_{target}", f"at least ms on {target}", bound, 3)


def shown_columns(rows: Sequence[Row]) -> list[Column]:
    """Return those for the page: not the empty ones, nor those to choose by that are everywhere the same.

    The data set is always said: where there is only one, by the heading of its errors.
    """
    found = []
    datasets = {row.group[0] for row in rows if row.group is not None}
    for column in all_columns(rows):
        values = {column.value(row.record) for row in rows}
        if column.key == "mpjpe_mm" and len(datasets) == 1:
            column = replace(column, title=f"{column.title}, {datasets.pop()}")
        several = len(values - {None}) > 1 if column.key == "dataset" else len(values) > 1
        if column.on_page and values != {None} and (several or not column.filtered):
            found.append(column)
    return found


def to_csv(rows: Sequence[Row]) -> str:
    """Return every column and digit; synthetic data sets say so by their name."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = all_columns(rows)
    writer.writerow([column.key for column in columns])
    for row in rows:
        writer.writerow([column.value(row.record) for column in columns])
    return text.getvalue()


def to_markdown(rows: Sequence[Row]) -> str:
    """Return a table for each data set and protocol, and one for what has no accuracy."""
    columns = [column for key in MARKDOWN for column in COLUMNS if column.key == key]
    parts = []
    for group in dict.fromkeys(row.group for row in rows):
        title = "No accuracy" if group is None else f"{group[0]}, protocol {group[1]}"
        lines = [[column.title for column in columns], ["---"] * len(columns)]
        lines += [[c.text(row.record).replace("|", "/") for c in columns] for row in rows if row.group == group]
        parts.append("\n".join([f"**{title}**", "", *("| " + " | ".join(line) + " |" for line in lines)]))
    return "\n\n".join(parts) + "\n"
