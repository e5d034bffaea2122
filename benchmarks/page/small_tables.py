"""The small tables below a report's plots: the files, threads, what was aimed at, which file for which CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.candidates.candidate import BARE_BACKBONE, MEDIAPIPE_HANDS, network_name
from benchmarks.page.answer import Files, fastest, file_name, lost_mm, recommended, whole_files
from benchmarks.page.rows import devices, measured
from benchmarks.page.shipped import on_photographs
from benchmarks.records.columns import cpu_class, interval, mpjpe_mm, p50_ms, size_mb, threads_text
from benchmarks.records.record import Ratio, Record
from training.evaluation.text_table import number

# What this project set out to reach on one thread, by variant: times faster in int8 than in fp32.
AIMED_GAINS = {"er-nano": 1.6, "er-xs": 2.0, "er-c": 2.4, "er-s": 1.4}
FILES_NOTE = (
    "Medians of the network alone, at the fewest threads; ~ marks a row that doubts itself. Photographs: share of "
    "joints in place, of int8 ONNX of shipped weights. The last two columns: times theirs, in the same rounds."
)


@dataclass(frozen=True)
class Table:
    """Texts; the first column's stand left, the others' right."""

    key: str
    title: str
    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


def make_tables(rows: Sequence[Record]) -> list[Table]:
    """Return the tables that have something to show: of the first device, the last one of all."""
    names = devices(measured(rows))
    files = whole_files(rows, names[0])
    by_device = {name: whole_files(rows, name) for name in names}
    made = (files_table(files), threads_table(files), aims_table(files), class_table(by_device))
    return [table for table in made if table.rows]


def files_table(files: Files) -> Table:
    """Compare the files at their fewest threads."""
    first = [min(records, key=lambda record: record.runtime.threads or 0) for records in files.values()]
    synthetic = any(row.accuracy is not None and row.accuracy.synthetic for row in first)
    error = "mm off (synthetic)" if synthetic else "mm off"
    headings = ("file", "MB", "ms", "x fp32", error, "lost mm", "photographs", "/ MediaPipe", "/ backbone")
    made = []
    for row in first:
        peers = (MEDIAPIPE_HANDS, f"{network_name(row.name)} {BARE_BACKBONE}")
        seen = on_photographs(row) if row.artifact.format == "onnx" else None
        lost = lost_mm(row)
        cost = (number(size_mb(row), 1), noted_ms(row), _ratio(row.times_faster))
        loss = "-" if lost is None else f"{lost:+.2f}"
        share = f"{seen['boxed']['pck']:.2f}" if seen else "-"
        beside = [_ratio(row.relative_time.get(peer)) for peer in peers]
        made.append((file_name(row), *cost, number(mpjpe_mm(row), 1), loss, share, *beside))
    return Table("files", "The files", headings, made, FILES_NOTE)


def threads_table(files: Files) -> Table:
    """Show how time scales, and the number of threads to take."""
    counts = sorted({row.runtime.threads for records in files.values() for row in records if row.runtime.threads})
    headings = ("file", *(f"ms, {count} thread{'s' if count > 1 else ''}" for count in counts), "take")
    made = []
    for records in files.values() if len(counts) > 1 else ():
        by_count = {row.runtime.threads: noted_ms(row) for row in records}
        cells = [by_count.get(count, "-") for count in counts]
        made.append((file_name(records[0]), *cells, threads_text(fastest(records)) or "-"))
    return Table("threads", "Threads", headings, made)


def aims_table(files: Files) -> Table:
    """Put what this project set out to reach on one thread beside what was measured."""
    made = []
    for what, measured_, least, aim in _aimed(files):
        value = measured_.median if isinstance(measured_, Ratio) else measured_
        if value is not None:
            text = interval(measured_) if isinstance(measured_, Ratio) else f"{value:.2f}"
            reached = value >= aim if least else value <= aim
            made.append((what, text, f"at {'least' if least else 'most'} {aim}", "yes" if reached else "no"))
    return Table("aims", "Speed, beside what was aimed at", ("on one thread", "measured", "aim", "reached"), made)


def _aimed(files: Files) -> Iterator[tuple[str, Ratio | float | None, bool, float]]:
    """Yield what, what was measured, whether the aim is the least or the most, and the aim."""
    one = {
        f"{row.variant} {row.artifact.precision}": row
        for records in files.values()
        for row in records
        if (row.runtime.threads, row.artifact.format, row.runtime.name) == (1, "onnx", "onnxruntime")
    }

    def beside(name: str, other: str) -> Ratio | None:
        return one[name].relative_time.get(other) if name in one else None

    for variant, aim in AIMED_GAINS.items():
        gain = one[f"{variant} int8"].times_faster if f"{variant} int8" in one else None
        yield f"{variant}: times faster in int8 than in fp32", gain, True, aim
    if "er-s fp32" in one:
        yield "er-c int8, times as long as er-s fp32", beside("er-c int8", one["er-s fp32"].name), False, 0.15
    yield "er-xs int8, times as long as MediaPipe", beside("er-xs int8", MEDIAPIPE_HANDS), False, 0.33
    yield "er-s fp32, times as long as its backbone", beside("er-s fp32", f"er-s {BARE_BACKBONE}"), False, 1.08
    if "er-nano int8" in one and (stages := one["er-nano int8"].stages_ms):
        yield "er-nano int8, ms from picture to meshes", stages.pre + stages.infer + stages.post, False, 1.5
    losses = [lost for name, row in one.items() if name.endswith("int8") and (lost := lost_mm(row)) is not None]
    yield "what int8 loses of any variant, mm at most", max(losses, default=None), False, 0.1


def class_table(by_device: Mapping[str, Files]) -> Table:
    """Say which file to take on each kind of machine that there are records of."""
    made = []
    for name, files in by_device.items():
        if take := recommended(files):
            cells = (file_name(take), threads_text(take) or "-", noted_ms(take), _ratio(take.times_faster))
            browser = f"browser, {take.runtime.provider_used}" if take.artifact.format == "web" else "unknown"
            made.append((cpu_class(take.device) or browser, name, *cells))
    headings = ("kind of CPU", "machine", "take", "threads", "ms", "x fp32")
    return Table("classes", "Which file for which CPU", headings, made, "Kinds without a record are not guessed.")


def noted_ms(row: Record) -> str:
    """Return a row's median, marked where the row doubts itself."""
    return f"{'~' if row.doubtful else ''}{number(p50_ms(row), 2)}"


def _ratio(ratio: Ratio | None) -> str:
    return "-" if ratio is None else f"{ratio.median:.2f}"
