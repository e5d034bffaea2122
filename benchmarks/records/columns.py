"""The figures of a record as columns of a table: the terminal's and the page's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from benchmarks.records.record import Device, Ratio, Record
from training.evaluation.text_table import number

Value = str | float | None
CPU_CLASSES = {
    **{"amx_int8": "AMX", "avx512_vnni": "AVX512-VNNI", "avx_vnni": "AVX-VNNI", "avx512f": "AVX512", "avx2": "AVX2"},
    **{"i8mm": "ARM i8mm", "asimddp": "ARM dot product", "asimd": "ARM"},
}


@dataclass(frozen=True)
class Column:
    """One column; `digits` behind the point where it is shown, None for texts."""

    key: str
    title: str
    value: Callable[[Record], Value]
    digits: int | None = None

    def text(self, record: Record) -> str:
        """Return the value as it is shown; a dash for nothing."""
        value = self.value(record)
        return value if isinstance(value, str) else number(value, self.digits or 0)


def interval(ratio: Ratio | None) -> str:
    """Return `1.94 (1.90-1.98)`."""
    return "-" if ratio is None else f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"


def figure(path: str) -> Callable[[Record], float | None]:
    """Return a reader of `part.field`, of a part that may not have been measured."""
    part, field = path.split(".")
    return lambda record: getattr(getattr(record, part), field, None)


def size_mb(record: Record) -> float | None:
    """Return the file's size on disk, 10^6 bytes."""
    return None if record.artifact.bytes is None else record.artifact.bytes / 1e6


mpjpe_mm, p50_ms = figure("accuracy.mpjpe_mm"), figure("latency_ms.p50")


def threads_text(record: Record) -> str | None:
    """Return the number of threads; None where the engine has no such setting."""
    return None if record.runtime.threads is None else str(record.runtime.threads)


def cpu_class(device: Device) -> str | None:
    """Return what decides how fast int8 is on a CPU: its widest integer products; None where it does not say."""
    return next((name for flag, name in CPU_CLASSES.items() if flag in device.cpu_flags), None)


COLUMNS = {
    column.key: column
    for column in (
        Column("name", "row", lambda r: r.name),
        Column("verdict", "verdict", lambda r: r.verdict.status.lower()),
        Column("kind", "kind", lambda r: r.kind),
        Column("precision", "precision", lambda r: r.artifact.precision),
        Column("engine", "engine", lambda r: r.runtime.name),
        Column("device", "device", lambda r: r.device.name),
        Column("cpu", "kind of CPU", lambda r: cpu_class(r.device)),
        Column("threads", "threads", threads_text),
        Column("size_mb", "MB", size_mb, 2),
        Column("mpjpe_mm", "MPJPE mm", mpjpe_mm, 2),
        Column("delta_vs_fp32_mm", "lost mm", figure("accuracy.delta_vs_fp32_mm"), 2),
        Column("p50_ms", "p50 ms", p50_ms, 2),
        Column("p99_ms", "p99 ms", figure("latency_ms.p99"), 2),
        Column("times_faster", "x fp32", figure("times_faster.median"), 2),
        Column("load_ms", "load ms", figure("load_ms.warm"), 0),
        Column("rss_peak_mb", "RSS MB", figure("memory_mb.rss_peak"), 0),
        Column("dataset", "data set", lambda r: None if r.accuracy is None else r.accuracy.dataset),
    )
}


def shown_columns(records: Sequence[Record]) -> list[Column]:
    """Return those for the page: not the empty ones, nor texts that are everywhere the same.

    The data set is always said: where there is only one, by the heading of its errors.
    """
    found = []
    datasets = {record.accuracy.dataset for record in records if record.accuracy is not None}
    for column in COLUMNS.values():
        values = {column.value(record) for record in records}
        if column.key == "mpjpe_mm" and len(datasets) == 1:
            column = replace(column, title=f"{column.title}, {datasets.pop()}")
        several = len(values - {None} if column.key == "dataset" else values) > 1
        if values != {None} and (several or column.digits is not None or column.key == "name"):
            found.append(column)
    return found
