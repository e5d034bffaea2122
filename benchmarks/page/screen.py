"""The rows of a run in the terminal: a table, what they answer, and what speaks against them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.page.answer import sentences, whole_files
from benchmarks.records.columns import COLUMNS
from benchmarks.records.record import NOT_RUN, Record
from training.evaluation.points import HEADINGS, NOTE, point_cells
from training.evaluation.text_table import print_columns

FILE_HEADINGS = ("file", *HEADINGS)
SHOWN = (
    "name",
    "threads",
    "size_mb",
    "mpjpe_mm",
    "delta_vs_fp32_mm",
    "p50_ms",
    "p99_ms",
    "times_faster",
    "rss_peak_mb",
)


def point_tables(records: Iterable[Record]) -> dict[str, list[tuple[str, ...]]]:
    """Return figures in the picture as rows under FILE_HEADINGS by data set, each file once; apart from millimetres."""
    found: dict[str, dict[tuple[str, str], tuple[str, ...]]] = {}
    for record in records:
        for part in record.points:
            found.setdefault(part.dataset, {})[record.name, part.kind] = (record.name, *point_cells(part))
    return {dataset: list(rows.values()) for dataset, rows in found.items()}


def print_run(records: Sequence[Record]) -> None:
    """Print the table, what follows from it, and doubts."""
    ran = [record for record in records if record.verdict.status != NOT_RUN]
    table = [(*(COLUMNS[key].title for key in SHOWN), "verdict")]
    table += [(*(COLUMNS[key].text(row) for key in SHOWN), row.verdict.status) for row in ran]
    print_columns(table, left=(0, len(SHOWN)))
    data = next((record.accuracy for record in records if record.accuracy), None)
    if data is not None:
        print(f"accuracy: {data.dataset}, {data.n_images} images, protocol {data.protocol}")
    for dataset, rows in point_tables(ran).items():
        print(f"\nin the picture, {dataset}")
        print_columns([FILE_HEADINGS, *rows], left=(0, 1))
        print(NOTE)
    for record in records:
        if record.verdict.reasons:
            print(f"{record.name}, {record.verdict.status}: {'; '.join(record.verdict.reasons)}")
    for device in dict.fromkeys(record.device.name for record in ran):
        for about, sentence in sentences(whole_files(ran, device)):
            print(about, sentence)
