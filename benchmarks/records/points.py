"""Figures in the picture as rows of a table, on screen and page: apart from millimetres, data set by data set."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.records.columns import number
from benchmarks.records.record import Record

HEADINGS = ("file", "kind", "pictures", "hands", "median error", "PCK", "PCK, seen", "AUC", "presence right")


def tables(records: Iterable[Record]) -> dict[str, list[tuple[str, ...]]]:
    """Return rows under HEADINGS by data set, each file once."""
    found: dict[str, dict[tuple[str, str], tuple[str, ...]]] = {}
    for record in records:
        for part in record.points:
            figures = (part.median_error, part.pck, part.pck_seen, part.auc, part.presence)
            counts = (str(part.n_images), str(part.n_hands))
            cells = (record.name, part.kind, *counts, *(number(value, 3) for value in figures))
            found.setdefault(part.dataset, {})[record.name, part.kind] = cells
    return {dataset: list(rows.values()) for dataset, rows in found.items()}
