"""What the report is made of: records of all files with their raw samples, and the groups that may share an axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.candidates.candidate import network_name
from benchmarks.records.raw_samples import Arrays, artifact_key, read_samples, samples_path
from benchmarks.records.record import FAILED, NOT_RUN, PROFILING, Record, read_records
from runtime.errors import UserError

Group = tuple[str, str]  # data set, protocol: figures of two groups never compare


@dataclass(frozen=True, eq=False)
class Row:
    """One record with its file's raw samples."""

    record: Record
    samples: Arrays
    sampled_as: str | None = None  # its name among the samples, where that is not the record's

    @property
    def title(self) -> str:
        """Return its name, with the threads where there are several."""
        threads = self.record.runtime.threads
        return self.record.name if threads in (None, 1) else f"{self.record.name}, {threads} threads"

    @property
    def group(self) -> Group | None:
        """Return where its accuracy belongs; None where none was measured."""
        accuracy = self.record.accuracy
        return None if accuracy is None else (accuracy.dataset, accuracy.protocol)

    def seen(self, what: str, dimensions: int) -> NDArray[Any]:
        """Return a raw array of the artefact (benchmarks.records.raw_samples); empty where there is no such array."""
        array = self.samples.get(artifact_key(self.sampled_as or self.record.name, what))
        fits = array is not None and array.ndim == dimensions and array.dtype.kind in "fui"
        return array if array is not None and fits else np.empty((0,) * dimensions)


def read_rows(paths: Sequence[Path]) -> list[Row]:
    """Read all rows of all files; a UserError where one cannot be read, or two hold the same row.

    A row of the same name as an earlier one, but of another model file, is told apart by that file's hash.
    """
    rows: dict[tuple[str, str, int | None], Row] = {}
    hashes: dict[str, str] = {}
    for path in paths:
        samples = read_samples(samples_path(path))
        for record in read_records(path):
            name, sha256 = record.name, record.artifact.sha256
            if sha256 is not None and hashes.setdefault(name, sha256) != sha256:
                record = replace(record, name=f"{name} (another model, {sha256[:8]})")
            key = (record.device.name, *record.key)
            if key in rows:
                raise UserError(f"{path}: '{record.name}' on {record.device.name} is in another file, too: give one")
            rows[key] = Row(record, samples, name)
    return list(rows.values())


def measured(rows: Iterable[Row]) -> list[Row]:
    """Return those that ran."""
    return [row for row in rows if row.record.verdict.status not in (NOT_RUN, FAILED, PROFILING)]


def artifacts(rows: Iterable[Row]) -> list[Row]:
    """Return files of this project that ran, the lightest first, once each: at the fewest threads, on one device."""
    found = [row for row in measured(rows) if row.record.kind == "artifact"]
    found.sort(key=lambda row: row.record.runtime.threads or 0)
    first = {row.record.name: row for row in reversed(found)}
    return sorted(
        (row for row in found if first[row.record.name] is row), key=lambda row: row.record.artifact.gmac or 0
    )


def is_pruned(record: Record) -> bool:
    """Say whether a file's network lost channels: `er-xs-p30_224_int8` is not called as its variant."""
    return record.variant is not None and network_name(record.name) != record.variant


def groups(rows: Iterable[Row]) -> list[Group]:
    """Return them in the order in which they come."""
    return list(dict.fromkeys(row.group for row in rows if row.group is not None))


def devices(rows: Iterable[Row]) -> list[str]:
    """Return them in the order in which they come."""
    return list(dict.fromkeys(row.record.device.name for row in rows))
