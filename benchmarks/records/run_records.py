"""The records of a run in the making. Every step is on the disk when the next begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from benchmarks.records.raw_samples import samples_path, write_samples
from benchmarks.records.record import FAILED, PROFILING, Record, Verdict, read_records, write_records
from runtime.errors import UserError

Key = tuple[str, int | None]


class Sheet:
    """The rows of a run by name and threads."""

    def __init__(self, path: Path, records: Sequence[Record]) -> None:
        self.path = path
        self._rows: dict[Key, Record] = {record.key: record for record in records}
        self._samples: dict[str, NDArray[Any]] = {}
        self.save()

    def __getitem__(self, key: Key) -> Record:
        return self._rows[key]

    @property
    def records(self) -> list[Record]:
        """Return all rows."""
        return list(self._rows.values())

    def rows_of(self, name: str) -> list[Record]:
        """Return a candidate's rows at all numbers of threads."""
        return [record for record in self._rows.values() if record.name == name]

    def alive(self, name: str) -> bool:
        """Say whether nothing of the candidate has failed."""
        return all(record.verdict.status != FAILED for record in self.rows_of(name))

    def put(self, record: Record) -> None:
        """Replace a row; `save` writes it."""
        self._rows[record.key] = record

    def change_all(self, name: str, **changes: Any) -> None:
        """Fill in some fields of all of a candidate's rows; `save` writes them."""
        for record in self.rows_of(name):
            self.put(replace(record, **changes))

    def explain(self, name: str, field: str, reason: str) -> None:
        """Say why a field of a candidate's rows stays empty."""
        for record in self.rows_of(name):
            self.put(replace(record, not_measured={**record.not_measured, field: reason}))

    def fail(self, name: str, reason: str) -> None:
        """Give a candidate up; rows that are finished stay."""
        for record in self.rows_of(name):
            if record.verdict.status == PROFILING:
                self.put(replace(record, verdict=Verdict(FAILED, [reason])))

    def keep_samples(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add raw samples; `save` writes them."""
        self._samples |= arrays

    def save(self) -> None:
        """Write the rows and the raw samples."""
        if self._samples:
            write_samples(samples_path(self.path), self._samples)
        write_records(self.path, self.records)


def make_way(path: Path, overwrite: bool) -> None:
    """Refuse to write over records, or with `overwrite` keep them as NAME.before.jsonl, raw samples too."""
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent}: create it first")
    if path.suffix != ".jsonl":
        raise UserError(f"{path} is no name for records: end it in .jsonl")
    if not path.exists():
        return
    if not overwrite:
        raise UserError(f"{path} exists: give --overwrite (it is kept as {before(path).name}) or another -o")
    try:
        done = any(record.verdict.status != PROFILING for record in read_records(path))
    except UserError as error:
        raise UserError(f"--overwrite does not touch what is no file of records: {error}") from None
    if not done:  # a run that was killed at once: what it kept aside is worth more
        return
    try:
        if samples_path(path).exists():
            samples_path(path).replace(samples_path(before(path)))
        path.replace(before(path))
    except OSError as error:
        raise UserError(f"cannot move {path} aside: {error.strerror}") from None


def before(path: Path) -> Path:
    """Return where --overwrite keeps the records that were there."""
    return path.with_name(f"{path.stem}.before{path.suffix}")
