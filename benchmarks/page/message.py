"""What the rows say, in words: the gain and loss of int8, the time beside MediaPipe and the bare backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.candidates.candidate import BARE_BACKBONE, MEDIAPIPE_HANDS, network_name
from benchmarks.page.rows import Row, artifacts, is_pruned, measured
from benchmarks.records.columns import COLUMNS, interval
from benchmarks.records.record import Record
from training.evaluation.text_table import number

CELLS = ("name", "size_mb", "p50_ms", "times_faster", "mpjpe_mm", "delta_vs_fp32_mm")


@dataclass(frozen=True)
class Message:
    """The opening of a report."""

    sentences: list[str]
    headings: tuple[str, ...]
    files: list[tuple[str, ...]]  # cells of the files to take, whole networks alone


def make_message(rows: Sequence[Row]) -> Message:
    """Say it of the whole networks' files at the fewest threads, on the first device."""
    here = [row for row in measured(rows) if row.record.device.name == rows[0].record.device.name]
    files = [row.record for row in artifacts(here) if not is_pruned(row.record)]
    if not files:
        return Message([], (), [])
    threads = files[0].runtime.threads
    int8 = [record for record in files if record.artifact.precision == "int8" and record.times_faster]
    sentences = []
    if int8:
        sentences.append(f"{_at(threads)}, int8 makes {_gains(int8)} times as fast as fp32{_losses(int8)}.")
    sentences.append(_times(int8 or files))
    synthetic = any(record.accuracy is not None and record.accuracy.synthetic for record in files)
    error = "MPJPE mm (synthetic)" if synthetic else "MPJPE mm"
    headings = ("file", "MB", "ms", "int8 gain over fp32", error, "lost mm", "time / MediaPipe", "time / backbone")
    return Message(sentences, headings, [_cells(record) for record in files])


def _gains(int8: Sequence[Record]) -> str:
    return _listed([f"{record.variant} {record.times_faster.median:.2f}" for record in int8 if record.times_faster])


def _losses(int8: Sequence[Record]) -> str:
    lost = [record.accuracy for record in int8 if record.accuracy and record.accuracy.delta_vs_fp32_mm is not None]
    texts = _listed([f"{accuracy.delta_vs_fp32_mm:+.2f}" for accuracy in lost])
    return f"; the error changes by {texts} mm ({lost[0].dataset})" if len(lost) == len(int8) else ""


def _times(files: Sequence[Record]) -> str:
    """Say how long they take, also as ratios to the peers that were timed in the same rounds."""
    names = [str(record.variant) if record.artifact.precision == "int8" else record.name for record in files]
    times = [
        number(ms, 1 if ms >= 10 else 2) for record in files if record.latency_ms and (ms := record.latency_ms.p50)
    ]
    beside = []
    for place, what in enumerate(
        ("MediaPipe's landmarks of two hands, which give no meshes", "the bare backbone in fp32")
    ):
        ratios = [_beside(record)[place] for record in files]
        if "-" not in ratios:
            beside.append(f"{_listed(ratios)} times as long as {what}")
    verb = "takes" if len(files) == 1 else "take"
    return f"{_listed(names)} {verb} {_listed(times)} ms a crop{': ' if beside else ''}{', and '.join(beside)}."


def _cells(record: Record) -> tuple[str, ...]:
    cells = {key: COLUMNS[key].text(record) for key in CELLS} | {"times_faster": interval(record.times_faster)}
    return *cells.values(), *_beside(record)


def _beside(record: Record) -> list[str]:
    """Return its time over MediaPipe's and over its own backbone's; a dash where one was not timed with it."""
    peers = (MEDIAPIPE_HANDS, f"{network_name(record.name)} {BARE_BACKBONE}")
    return [f"{record.relative_time[peer].median:.2f}" if peer in record.relative_time else "-" for peer in peers]


def _at(threads: int | None) -> str:
    return "Here" if threads is None else f"On {threads} thread{'s' if threads > 1 else ''}"


def _listed(words: Sequence[str]) -> str:
    """Return `1.69, 2.04 and 1.47`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
