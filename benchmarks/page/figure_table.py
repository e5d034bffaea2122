"""The rows as a table: for the page, as CSV with every digit, as Markdown for a text."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.page.rows import Row
from benchmarks.records.record import Ratio, Record

Value = str | float | None


@dataclass(frozen=True)
class Column:
    """One column; `digits` behind the point on the page and in Markdown, None for texts."""

    key: str  # in CSV, with the unit
    title: str
    value: Callable[[Record], Value]
    digits: int | None = None
    filtered: bool = False  # the page lets one choose among its values


@dataclass(frozen=True)
class Cell:
    """As shown, as sorted (None: last), and as chosen by."""

    text: str
    value: Value


def _of(part: object, field: str) -> float | None:
    return None if part is None else getattr(part, field)


def _median(ratio: Ratio | None) -> float | None:
    return None if ratio is None else ratio.median


def _bound(record: Record) -> float | None:
    here = (p.lower_bound_ms for p in record.predictions if p.measured_by_predicted is not None)
    return next(here, None)


def _milli(value: float | None) -> float | None:
    return None if value is None else value / 1e6


def _threads(record: Record) -> str:
    return "-" if record.runtime.threads is None else str(record.runtime.threads)


COLUMNS = (
    Column("name", "row", lambda r: r.name),
    Column("kind", "kind", lambda r: r.kind, filtered=True),
    Column("precision", "precision", lambda r: r.artifact.precision, filtered=True),
    Column("engine", "engine", lambda r: r.runtime.name, filtered=True),
    Column("device", "device", lambda r: r.device.name, filtered=True),
    Column("threads", "threads", _threads, filtered=True),
    Column("size_mb", "MB", lambda r: _milli(r.artifact.bytes), 2),
    Column("gmac", "GMAC", lambda r: r.artifact.gmac, 3),
    Column("mpjpe_mm", "MPJPE mm", lambda r: _of(r.accuracy, "mpjpe_mm"), 2),
    Column("delta_vs_fp32_mm", "lost to fp32 mm", lambda r: _of(r.accuracy, "delta_vs_fp32_mm"), 3),
    Column("p50_ms", "p50 ms", lambda r: _of(r.latency_ms, "p50"), 2),
    Column("p50_low_ms", "low", lambda r: _of(r.latency_ms, "p50_low"), 2),
    Column("p50_high_ms", "high", lambda r: _of(r.latency_ms, "p50_high"), 2),
    Column("p99_ms", "p99 ms", lambda r: _of(r.latency_ms, "p99"), 2),
    Column("cv_pct", "CV %", lambda r: _of(r.latency_ms, "cv_pct"), 1),
    Column("times_faster", "x fp32", lambda r: _median(r.times_faster), 2),
    Column("limit_share_pct", "% of limit", lambda r: _of(r.limit, "share_pct"), 0),
    Column("lower_bound_ms", "at least ms", _bound, 2),
    Column("load_cold_ms", "load ms", lambda r: _of(r.load_ms, "cold"), 0),
    Column("rss_peak_mb", "RSS MB", lambda r: _of(r.memory_mb, "rss_peak"), 0),
    Column("energy_mj", "mJ", lambda r: r.energy_mj_per_frame, 1),
    Column("dataset", "data set", lambda r: None if r.accuracy is None else r.accuracy.dataset, filtered=True),
    Column("verdict", "verdict", lambda r: r.verdict.status, filtered=True),
)
MARKDOWN = ("name", "threads", "size_mb", "mpjpe_mm", "delta_vs_fp32_mm", "p50_ms", "p99_ms", "times_faster", "verdict")


def cells(record: Record, columns: Sequence[Column] = COLUMNS) -> list[Cell]:
    """Of one row; what was not measured is a dash."""
    found = []
    for column in columns:
        value = column.value(record)
        text = "-" if value is None else value if isinstance(value, str) else f"{value:.{column.digits or 0}f}"
        found.append(Cell(text, value))
    return found


def shown_columns(rows: Sequence[Row]) -> list[Column]:
    """Without those that are empty, or to choose by and everywhere the same; the data set is always said."""
    found = []
    for column in COLUMNS:
        values = {column.value(row.record) for row in rows}
        if not values <= {None, "-"} and (len(values) > 1 or not column.filtered or column.key == "dataset"):
            found.append(column)
    return found


def to_csv(rows: Sequence[Row]) -> str:
    """Every column and digit; synthetic data sets say so by their name."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.key for column in COLUMNS])
    for row in rows:
        writer.writerow([column.value(row.record) for column in COLUMNS])
    return text.getvalue()


def to_markdown(rows: Sequence[Row]) -> str:
    """A table for each data set and protocol, and one for what has no accuracy."""
    columns = [column for column in COLUMNS if column.key in MARKDOWN]
    parts = []
    for group in dict.fromkeys(row.group for row in rows):
        members = [row for row in rows if row.group == group]
        title = "No accuracy" if group is None else f"{group[0]}, protocol {group[1]}"
        lines = [[column.title for column in columns], ["---"] * len(columns)]
        lines += [[cell.text.replace("|", "/") for cell in cells(row.record, columns)] for row in members]
        parts.append("\n".join([f"**{title}**", "", *("| " + " | ".join(line) + " |" for line in lines)]))
    return "\n\n".join(parts) + "\n"
