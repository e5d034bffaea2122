"""The records of all files that a report is made of, and the groups that may share an axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.candidates.candidate import network_name
from benchmarks.records.record import FAILED, NOT_RUN, PROFILING, Group, Record, read_records
from runtime.errors import UserError


def read_rows(paths: Sequence[Path]) -> list[Record]:
    """Read all rows of all files; a UserError where one cannot be read, or two hold the same row.

    A row of the same name as an earlier one, but of another model file, is told apart by that file's hash.
    """
    rows: dict[tuple[str, str, int | None], Record] = {}
    hashes: dict[str, str] = {}
    for path in paths:
        for record in read_records(path):
            name, sha256 = record.name, record.artifact.sha256
            if sha256 is not None and hashes.setdefault(name, sha256) != sha256:
                record = replace(record, name=f"{name} (another model, {sha256[:8]})")
            key = (record.device.name, *record.key)
            if key in rows:
                raise UserError(f"{path}: '{record.name}' on {record.device.name} is in another file, too: give one")
            rows[key] = record
    return list(rows.values())


def measured(rows: Iterable[Record]) -> list[Record]:
    """Return those that ran."""
    return [row for row in rows if row.verdict.status not in (NOT_RUN, FAILED, PROFILING)]


def artifacts(rows: Iterable[Record]) -> list[Record]:
    """Return files of this project that ran, the lightest first, once each: at the fewest threads, on one device."""
    found = [row for row in measured(rows) if row.kind == "artifact"]
    found.sort(key=lambda row: row.runtime.threads or 0)
    first = {row.name: row for row in reversed(found)}
    return sorted((row for row in found if first[row.name] is row), key=lambda row: row.artifact.gmac or 0)


def is_pruned(record: Record) -> bool:
    """Say whether a file's network lost channels: `er-xs-p30_224_int8` is not called as its variant."""
    return record.variant is not None and network_name(record.name) != record.variant


def groups(rows: Iterable[Record]) -> list[Group]:
    """Return them in the order in which they come."""
    return list(dict.fromkeys(row.group for row in rows if row.group is not None))


def devices(rows: Iterable[Record]) -> list[str]:
    """Return them in the order in which they come."""
    return list(dict.fromkeys(row.device.name for row in rows))
