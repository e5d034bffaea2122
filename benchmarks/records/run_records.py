"""The records of a run in the making. Every step is on the disk when the next begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.records.record import FAILED, PROFILING, Key, Record, Verdict, write_records
from runtime.errors import UserError
from runtime.files import write_error


class Sheet:
    """The rows of a run by name and threads."""

    def __init__(self, path: Path, records: Sequence[Record]) -> None:
        self.path = path
        self._rows: dict[Key, Record] = {record.key: record for record in records}
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

    def change(self, name: str, reasons: Mapping[str, str], **changes: Any) -> None:
        """Fill in fields of all of a candidate's rows, and why others stay empty; `save` writes them."""
        for record in self.rows_of(name):
            self.put(replace(record, not_measured={**record.not_measured, **reasons}, **changes))

    def fail(self, name: str, reason: str) -> None:
        """Give a candidate up; rows that are finished stay."""
        for record in self.rows_of(name):
            if record.verdict.status == PROFILING:
                self.put(replace(record, verdict=Verdict(FAILED, [reason])))

    def save(self) -> None:
        """Write the rows."""
        write_records(self.path, self.records)


def make_way(path: Path, overwrite: bool) -> None:
    """Refuse to write over records, or with `overwrite` keep them as NAME.before.jsonl."""
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent}: create it first")
    if path.suffix != ".jsonl":
        raise UserError(f"{path} is no name for records: end it in .jsonl")
    if not path.exists():
        return
    kept = path.with_name(f"{path.stem}.before{path.suffix}")
    if not overwrite:
        raise UserError(f"{path} exists: give --overwrite (it is kept as {kept.name}) or another -o")
    try:
        path.replace(kept)
    except OSError as error:
        raise write_error(kept, error) from None
