"""Figures in the picture as rows of a table, on screen and page: apart from millimetres, data set by data set."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.records.record import Record
from training.evaluation.points import HEADINGS, point_cells

FILE_HEADINGS = ("file", *HEADINGS)


def tables(records: Iterable[Record]) -> dict[str, list[tuple[str, ...]]]:
    """Return rows under FILE_HEADINGS by data set, each file once."""
    found: dict[str, dict[tuple[str, str], tuple[str, ...]]] = {}
    for record in records:
        for part in record.points:
            found.setdefault(part.dataset, {})[record.name, part.kind] = (record.name, *point_cells(part))
    return {dataset: list(rows.values()) for dataset, rows in found.items()}
