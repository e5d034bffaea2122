"""What the rows say, in words: the gain and loss of int8, the time beside MediaPipe and the bare backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.candidates.candidate import BARE_BACKBONE, MEDIAPIPE_HANDS, network_name
from benchmarks.page.rows import Row, artifacts, is_pruned, measured
from benchmarks.records.columns import COLUMNS, interval, number, part_of
from benchmarks.records.record import Record


@dataclass(frozen=True)
class Message:
    """The opening of a report."""

    sentences: list[str]
    files: list[tuple[str, ...]]  # the files to take, whole networks alone
    synthetic: bool = False  # their errors

    @property
    def headings(self) -> tuple[str, ...]:
        """Return those of the files' cells."""
        error = "MPJPE mm (synthetic)" if self.synthetic else "MPJPE mm"
        return "file", "MB", "ms", "int8 gain over fp32", error, "lost mm", "time / MediaPipe", "time / backbone"


def make_message(rows: Sequence[Row]) -> Message:
    """Say it of the whole networks' files at the fewest threads, on the first device."""
    device = rows[0].record.device.name
    here = [row for row in measured(rows) if row.record.device.name == device]
    files = [row.record for row in artifacts(here) if not is_pruned(row.record)]
    if not files:
        return Message([], [])
    threads = files[0].runtime.threads
    int8 = [record for record in files if record.artifact.precision == "int8" and record.times_faster is not None]
    sentences = []
    if int8:
        sentences.append(f"{_at(threads)}, int8 makes {_gains(int8)} times as fast as fp32{_losses(int8)}.")
    sentences.append(_times(int8 or files))
    for others in _more_threads(here, int8, threads):
        best = max(record.times_faster.median for record in others if record.times_faster is not None)
        word = "gains less" if best > 1.1 else "does not pay"
        sentences.append(f"{_at(others[0].runtime.threads)} the factors are {_gains(others)}: int8 {word} there.")
    synthetic = any(record.accuracy is not None and record.accuracy.synthetic for record in files)
    return Message(sentences, [_cells(record) for record in files], synthetic)


def _gains(int8: Sequence[Record]) -> str:
    return _listed([f"{record.variant} {part_of(record.times_faster, 'median'):.2f}" for record in int8])


def _losses(int8: Sequence[Record]) -> str:
    accuracies = [record.accuracy for record in int8 if record.accuracy is not None]
    lost = [f"{a.delta_vs_fp32_mm:+.2f}" for a in accuracies if a.delta_vs_fp32_mm is not None]
    return f"; the error changes by {_listed(lost)} mm ({accuracies[0].dataset})" if len(lost) == len(int8) else ""


def _times(files: Sequence[Record]) -> str:
    """Say how long they take, also as ratios to the peers that were timed in the same rounds."""
    names = _listed([str(record.variant) if record.artifact.precision == "int8" else record.name for record in files])
    times = _listed([_ms(part_of(record.latency_ms, "p50") or 0.0) for record in files])
    beside = []
    for what, peers in (
        ("MediaPipe's landmarks of two hands, which give no meshes", [MEDIAPIPE_HANDS] * len(files)),
        ("the bare backbone in fp32", [_backbone(record) for record in files]),
    ):
        found = [record.relative_time.get(peer) for record, peer in zip(files, peers, strict=True)]
        ratios = [f"{ratio.median:.2f}" for ratio in found if ratio is not None]
        if len(ratios) == len(files):
            beside.append(f"{_listed(ratios)} times as long as {what}")
    verb = "takes" if len(files) == 1 else "take"
    return f"{names} {verb} {times} ms a crop{': ' if beside else ''}{', and '.join(beside)}."


def _more_threads(rows: Sequence[Row], int8: Sequence[Record], threads: int | None) -> list[list[Record]]:
    """Return the same int8 files at each further number of threads."""
    names = {record.name for record in int8}
    found: dict[int | None, dict[str, Record]] = {}
    for row in rows:
        record = row.record
        if record.name in names and record.runtime.threads != threads and record.times_faster is not None:
            found.setdefault(record.runtime.threads, {})[record.name] = record
    return [[others[r.name] for r in int8 if r.name in others] for others in found.values()]


def _backbone(record: Record) -> str:
    return f"{network_name(record.name)} {BARE_BACKBONE}"


def _cells(record: Record) -> tuple[str, ...]:
    name, size, ms, error, lost = (
        COLUMNS[key].text(record) for key in ("name", "size_mb", "p50_ms", "mpjpe_mm", "delta_vs_fp32_mm")
    )
    ratios = [record.relative_time.get(name) for name in (MEDIAPIPE_HANDS, _backbone(record))]
    beside = ["-" if ratio is None else f"{ratio.median:.2f}" for ratio in ratios]
    return name, size, ms, interval(record.times_faster), error, lost, *beside


def _ms(value: float) -> str:
    return number(value, 1 if value >= 10 else 2)


def _at(threads: int | None) -> str:
    return "Here" if threads is None else f"On {threads} thread{'s' if threads > 1 else ''}"


def _listed(words: Sequence[str]) -> str:
    """Return `1.69, 2.04 and 1.47`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
