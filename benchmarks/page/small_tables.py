"""The small tables below a report's plots: the files, threads, which file for which CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.candidates.candidate import BARE_BACKBONE, MEDIAPIPE_HANDS, network_name
from benchmarks.page.answer import Files, fastest, file_name, lost_mm, recommended, whole_files
from benchmarks.page.rows import devices, measured
from benchmarks.page.shipped import on_photographs
from benchmarks.records.columns import cpu_class, mpjpe_mm, p50_ms, size_mb, threads_text
from benchmarks.records.record import Ratio, Record
from training.evaluation.text_table import number

FILES_NOTE = (
    "Medians of the network alone, at the fewest threads; ~ marks a row that doubts itself. Photographs: share of "
    "joints in place, of int8 ONNX of shipped weights. The last two columns: times theirs, in the same rounds."
)


@dataclass(frozen=True)
class Table:
    """Texts; the first column's stand left, the others' right."""

    key: str
    title: str
    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


def make_tables(rows: Sequence[Record]) -> list[Table]:
    """Return the tables that have something to show: of the first device, the last one of all."""
    names = devices(measured(rows))
    files = whole_files(rows, names[0])
    by_device = {name: whole_files(rows, name) for name in names}
    made = (files_table(files), threads_table(files), class_table(by_device))
    return [table for table in made if table.rows]


def files_table(files: Files) -> Table:
    """Compare the files at their fewest threads."""
    first = [min(records, key=lambda record: record.runtime.threads or 0) for records in files.values()]
    synthetic = any(row.accuracy is not None and row.accuracy.synthetic for row in first)
    error = "mm off (synthetic)" if synthetic else "mm off"
    headings = ("file", "MB", "ms", "x fp32", error, "lost mm", "photographs", "/ MediaPipe", "/ backbone")
    made = []
    for row in first:
        peers = (MEDIAPIPE_HANDS, f"{network_name(row.name)} {BARE_BACKBONE}")
        seen = on_photographs(row) if row.artifact.format == "onnx" else None
        lost = lost_mm(row)
        cost = (number(size_mb(row), 1), noted_ms(row), _ratio(row.times_faster))
        loss = "-" if lost is None else f"{lost:+.2f}"
        share = f"{seen['boxed']['pck']:.2f}" if seen else "-"
        beside = [_ratio(row.relative_time.get(peer)) for peer in peers]
        made.append((file_name(row), *cost, number(mpjpe_mm(row), 1), loss, share, *beside))
    return Table("files", "The files", headings, made, FILES_NOTE)


def threads_table(files: Files) -> Table:
    """Show how time scales, and the number of threads to take."""
    counts = sorted({row.runtime.threads for records in files.values() for row in records if row.runtime.threads})
    headings = ("file", *(f"ms, {count} thread{'s' if count > 1 else ''}" for count in counts), "take")
    made = []
    for records in files.values() if len(counts) > 1 else ():
        by_count = {row.runtime.threads: noted_ms(row) for row in records}
        cells = [by_count.get(count, "-") for count in counts]
        made.append((file_name(records[0]), *cells, threads_text(fastest(records)) or "-"))
    return Table("threads", "Threads", headings, made)


def class_table(by_device: Mapping[str, Files]) -> Table:
    """Say which file to take on each kind of machine that there are records of."""
    made = []
    for name, files in by_device.items():
        if take := recommended(files):
            cells = (file_name(take), threads_text(take) or "-", noted_ms(take), _ratio(take.times_faster))
            browser = f"browser, {take.runtime.provider_used}" if take.artifact.format == "web" else "unknown"
            made.append((cpu_class(take.device) or browser, name, *cells))
    headings = ("kind of CPU", "machine", "take", "threads", "ms", "x fp32")
    return Table("classes", "Which file for which CPU", headings, made, "Kinds without a record are not guessed.")


def noted_ms(row: Record) -> str:
    """Return a row's median, marked where the row doubts itself."""
    return f"{'~' if row.doubtful else ''}{number(p50_ms(row), 2)}"


def _ratio(ratio: Ratio | None) -> str:
    return "-" if ratio is None else f"{ratio.median:.2f}"
