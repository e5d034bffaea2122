"""Everything in one file: answer, plots, tables. Nothing is fetched from anywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import jinja2

from benchmarks.page.answer import one_per_variant, sentences, whole_files
from benchmarks.page.drawing import Plot, to_svg
from benchmarks.page.rows import devices, measured
from benchmarks.page.screen import FILE_HEADINGS, point_tables
from benchmarks.page.small_tables import make_tables
from benchmarks.records.columns import cpu_class, shown_columns
from benchmarks.records.record import DOUBTFUL, FAILED, NOT_RUN, PROFILING, Record
from training.evaluation.points import NOTE

_FOLDER = Path(__file__).parent


def make_page(rows: Sequence[Record], plots: Sequence[Plot]) -> str:
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
    pictured = [row for row in shown if row.name in best]
    doubted = [row for row in rows if row.verdict.status in (DOUBTFUL, FAILED, PROFILING)]
    causes = (cause for row in doubted for cause in {reason.split(":")[0] for reason in row.verdict.reasons})
    synthetic = [row.accuracy.dataset for row in rows if row.accuracy and row.accuracy.synthetic]
    environments = (", ".join(f"{name} {what or 'absent'}" for name, what in r.environment.items()) for r in rows)
    return environment.get_template("page.html").render(
        answer=sentences(whole_files(shown, devices(shown)[0])),
        tables=make_tables(shown),
        points={"headings": FILE_HEADINGS, "note": NOTE, "tables": point_tables(pictured)},
        synthetic=list(dict.fromkeys(synthetic)),
        devices=_devices(rows),
        columns=shown_columns(shown),
        records=shown,
        timed=("p50_ms", "p99_ms", "times_faster"),
        plots=[(plot, to_svg(plot)) for plot in plots],
        doubted=doubted,
        causes=Counter(causes).most_common(),
        absent=[row for row in rows if row.verdict.status == NOT_RUN],
        commands=list(dict.fromkeys(row.command for row in rows)),
        environments=list(dict.fromkeys(filter(None, environments))),
        style=(_FOLDER / "page.css").read_text(),
        script=(_FOLDER / "page.js").read_text(),
    )


def _devices(rows: Sequence[Record]) -> dict[str, str]:
    found = {}
    for row in rows:
        device = row.device
        cores = None if device.cores is None else f"{device.cores} cores"
        parts = [device.os, cpu_class(device), cores, device.power_mode]
        found[device.name] = ", ".join(part for part in parts if part) + f"; measured {row.created_utc[:10]}"
    return found
