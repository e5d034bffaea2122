"""What the report is made of: records of all files with their raw samples, and the groups that may share an axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from benchmarks.records.raw_samples import artifact_key, read_samples, row_key, samples_path
from benchmarks.records.record import DOUBTFUL, FAILED, NOT_RUN, PROFILING, Record, read_records
from runtime.errors import UserError

Group = tuple[str, str]  # data set, protocol: figures of two groups never compare


@dataclass(frozen=True, eq=False)
class Row:
    """One record with its file's raw samples."""

    record: Record
    samples: dict[str, NDArray[Any]]

    @property
    def title(self) -> str:
        """Its name, with the threads where there are several."""
        threads = self.record.runtime.threads
        return self.record.name if threads in (None, 1) else f"{self.record.name}, {threads} threads"

    @property
    def group(self) -> Group | None:
        """Where its accuracy belongs; None where none was measured."""
        accuracy = self.record.accuracy
        return None if accuracy is None else (accuracy.dataset, accuracy.protocol)

    def timed(self, what: str) -> NDArray[Any] | None:
        """An array of the row (benchmarks.records.raw_samples)."""
        return self.samples.get(row_key(self.record.name, self.record.runtime.threads, what))

    def seen(self, what: str) -> NDArray[Any] | None:
        """An array of the artefact."""
        return self.samples.get(artifact_key(self.record.name, what))


def read_rows(paths: Sequence[Path]) -> list[Row]:
    """All rows of all files; a UserError where one cannot be read, or two hold the same row."""
    rows: list[Row] = []
    origin: dict[tuple[str, str, int | None], Path] = {}
    for path in paths:
        records, samples = read_records(path), read_samples(samples_path(path))
        for record in records:
            key = (record.device.name, *record.key)
            if key in origin:
                raise UserError(f"'{record.name}' on {record.device.name} is in {origin[key]} and in {path}: give one")
            origin[key] = path
            rows.append(Row(record, samples))
    return rows


def measured(rows: Iterable[Row]) -> list[Row]:
    """Those that ran, without the limits of the machine."""
    done = (row for row in rows if row.record.kind != "probe")
    return [row for row in done if row.record.verdict.status not in (NOT_RUN, FAILED, PROFILING)]


def artifacts(rows: Iterable[Row]) -> list[Row]:
    """Files of this project that ran, once each: at the fewest threads, on the first device."""
    first: dict[str, Row] = {}
    for row in measured(rows):
        if row.record.kind != "artifact":
            continue
        known = first.get(row.record.name)
        if known is None or _threads(row) < _threads(known):
            first[row.record.name] = row
    return list(first.values())


def groups(rows: Iterable[Row]) -> list[Group]:
    """In the order in which they come."""
    return list(dict.fromkeys(row.group for row in rows if row.group is not None))


def devices(rows: Iterable[Row]) -> list[str]:
    """In the order in which they come."""
    return list(dict.fromkeys(row.record.device.name for row in rows))


def doubts(rows: Iterable[Row]) -> list[tuple[str, str, list[str]]]:
    """What speaks against rows: title, status, reasons."""
    return [
        (row.title, row.record.verdict.status, row.record.verdict.reasons)
        for row in rows
        if row.record.verdict.status in (DOUBTFUL, FAILED, PROFILING) and row.record.kind != "probe"
    ]


def absent(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """Peers that did not run, and how to get them."""
    return [
        (row.record.name, "; ".join(row.record.verdict.reasons)) for row in rows if row.record.verdict.status == NOT_RUN
    ]


def _threads(row: Row) -> int:
    return row.record.runtime.threads or 0
