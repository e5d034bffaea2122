"""Everything in one file: answer, plots, pictures, tables. Nothing is fetched from anywhere."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2

from benchmarks.page.answer import one_per_variant, sentences, whole_files
from benchmarks.page.drawing import Plot, to_svg
from benchmarks.page.rows import Row, artifacts, devices, measured
from benchmarks.page.screen import FILE_HEADINGS, point_tables
from benchmarks.page.small_tables import make_tables
from benchmarks.records.columns import cpu_class, shown_columns
from benchmarks.records.raw_samples import EXAMPLES
from benchmarks.records.record import DOUBTFUL, FAILED, NOT_RUN, PROFILING
from training.evaluation.points import NOTE

_JPEG = b"\xff\xd8\xff"
_FOLDER = Path(__file__).parent


class Example(NamedTuple):
    """One picture: the crop, and beside it what was found."""

    row: str
    which: str
    error_mm: float
    data: str  # base64 of a JPEG


def make_page(rows: Sequence[Row], plots: Sequence[Plot]) -> str:
    """Return the page as text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = measured(rows)
    best = one_per_variant(shown)
    pictured = [row.record for row in shown if row.record.name in best]
    doubted = [row for row in rows if row.record.verdict.status in (DOUBTFUL, FAILED, PROFILING)]
    causes = (cause for row in doubted for cause in {reason.split(":")[0] for reason in row.record.verdict.reasons})
    synthetic = [row.record.accuracy.dataset for row in rows if row.record.accuracy and row.record.accuracy.synthetic]
    environments = (
        ", ".join(f"{name} {what or 'absent'}" for name, what in r.record.environment.items()) for r in rows
    )
    return environment.get_template("page.html").render(
        answer=sentences(whole_files(shown, devices(shown)[0])),
        tables=make_tables(shown),
        points={"headings": FILE_HEADINGS, "note": NOTE, "tables": point_tables(pictured)},
        synthetic=list(dict.fromkeys(synthetic)),
        devices=_devices(rows),
        columns=shown_columns([row.record for row in shown]),
        records=[row.record for row in shown],
        timed=("p50_ms", "p99_ms", "times_faster"),
        plots=[(plot, to_svg(plot)) for plot in plots],
        doubted=doubted,
        causes=Counter(causes).most_common(),
        absent=[row.record for row in rows if row.record.verdict.status == NOT_RUN],
        examples=pick_examples(rows),
        commands=list(dict.fromkeys(row.record.command for row in rows)),
        environments=list(dict.fromkeys(filter(None, environments))),
        style=(_FOLDER / "page.css").read_text(),
        script=(_FOLDER / "page.js").read_text(),
    )


def pick_examples(rows: Sequence[Row]) -> list[Example]:
    """Pick pictures of the file to take, then of the fastest one of each other variant."""
    found = {row.record.name: row for row in artifacts(rows)}
    return [example for name in one_per_variant(rows) for example in _examples(found[name])]


def _examples(row: Row) -> Iterator[Example]:
    errors = row.seen("example_error_mm", 1)
    for which, error_mm in zip(EXAMPLES, errors, strict=False):
        data = row.seen(f"example_{which}", 1).tobytes()
        if data.startswith(_JPEG):  # samples come from outside
            yield Example(row.record.name, which, float(error_mm), base64.b64encode(data).decode())


def _devices(rows: Sequence[Row]) -> dict[str, str]:
    found = {}
    for row in rows:
        device = row.record.device
        cores = None if device.cores is None else f"{device.cores} cores"
        parts = [device.os, cpu_class(device), cores, device.power_mode]
        found[device.name] = ", ".join(part for part in parts if part) + f"; measured {row.record.created_utc[:10]}"
    return found
