"""The rows as a table: for the page, and as CSV with every digit."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.page.rows import Row
from benchmarks.records.columns import COLUMNS, Column


def all_columns(rows: Sequence[Row]) -> list[Column]:
    """Return the columns, one of lower bounds for every device that was predicted for."""
    targets = dict.fromkeys(bound.target for row in rows for bound in row.record.predictions)
    return [*COLUMNS.values(), *map(_bound_column, targets)]


def _bound_column(target: str) -> Column:
    return Column(
        f"at_least_ms_on_{target}",
        f"at least ms on {target}",
        lambda record: next((bound.lower_bound_ms for bound in record.predictions if bound.target == target), None),
        digits=3,
    )


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
    writer.writerow(column.key for column in columns)
    writer.writerows([column.value(row.record) for column in columns] for row in rows)
    return text.getvalue()
