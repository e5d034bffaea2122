"""Everything in one file: table, plots, pictures, Plotly itself. Nothing is fetched from anywhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.page.figure_table import Cell, Column, cells, shown_columns
from benchmarks.page.plot import Plot, to_plotly
from benchmarks.page.rows import Row, absent, artifacts, doubts, groups, measured
from benchmarks.records.raw_samples import EXAMPLES
from runtime.errors import UserError
from training.evaluation.published_figures import DATASET, Published, published_for

MAX_PICTURE_BYTES = 700_000  # of all examples together: the page stays below 6 MB
_JPEG = b"\xff\xd8\xff"
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Example:
    """One picture: the crop, and beside it what was found."""

    row: str
    which: str
    error_mm: float
    data: str  # base64 of a JPEG


@dataclass(frozen=True)
class Choice:
    """A column to filter by."""

    index: int
    title: str
    values: list[str]


def make_page(rows: Sequence[Row], plots: Sequence[Plot]) -> str:
    """The page as text."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = measured(rows)
    columns = shown_columns(shown)
    lines = [cells(row.record, columns) for row in shown]
    examples, left_out = pick_examples(rows)
    return environment.get_template("page.html").render(
        synthetic=[group[0] for group in groups(rows) if _is_synthetic(rows, group)],
        devices=_devices(rows),
        columns=columns,
        lines=lines,
        choices=list(choices(columns, lines)),
        plots=plots,
        figures=_as_script_text({plot.key: to_plotly(plot) for plot in plots}),
        published=list(published(rows)),
        limits=[(row.title, _limit(row)) for row in rows if row.record.limit is not None and _limit(row)],
        doubts=doubts(rows),
        absent=absent(rows),
        examples=examples,
        left_out=left_out,
        commands=list(dict.fromkeys(row.record.command for row in rows)),
        environments=_environments(rows),
        style=(_FOLDER / "page.css").read_text(),
        script=(_FOLDER / "page.js").read_text(),
        plotly=_plotly(),
    )


def choices(columns: Sequence[Column], lines: Sequence[Sequence[Cell]]) -> Iterator[Choice]:
    """Of columns with more than one value."""
    for index, column in enumerate(columns):
        values = list(dict.fromkeys(line[index].text for line in lines))
        if column.filtered and len(values) > 1:
            yield Choice(index, column.title, values)


def published(rows: Sequence[Row]) -> Iterator[tuple[str, tuple[Published, ...]]]:
    """Figures of others, only of a protocol and data set that are measured here."""
    for dataset, protocol in groups(rows):
        if dataset.split()[0] == DATASET and "synthetic" not in dataset and (found := published_for(protocol)):
            yield f"{dataset}, protocol {protocol}", found


def pick_examples(rows: Sequence[Row]) -> tuple[list[Example], list[str]]:
    """Of the smallest file of each variant first, then of the others while there is room; who is left out."""
    found = artifacts(rows)
    smallest = {row.record.variant: row for row in sorted(found, key=lambda row: -(row.record.artifact.bytes or 0))}
    order = [*smallest.values(), *(row for row in found if row not in smallest.values())]
    examples: list[Example] = []
    left_out = []
    room = MAX_PICTURE_BYTES
    for row in order:
        own = list(_examples(row))
        size = sum(len(example.data) for example in own)
        if own and size > room:
            left_out.append(row.record.name)
            continue
        room -= size
        examples += own
    return examples, left_out


def _examples(row: Row) -> Iterator[Example]:
    errors = row.seen("example_error_mm")
    for index, which in enumerate(EXAMPLES):
        picture = row.seen(f"example_{which}")
        if picture is None or errors is None or len(errors) != len(EXAMPLES):
            continue
        data = picture.tobytes()
        if data.startswith(_JPEG):  # samples come from outside
            yield Example(row.record.name, which, float(errors[index]), base64.b64encode(data).decode())


def _is_synthetic(rows: Sequence[Row], group: tuple[str, str]) -> bool:
    accuracies = (row.record.accuracy for row in rows if row.group == group)
    return any(accuracy is not None and accuracy.synthetic for accuracy in accuracies)


def _devices(rows: Sequence[Row]) -> list[tuple[str, str]]:
    found = {}
    for row in rows:
        device = row.record.device
        parts = [device.os, None if device.cores is None else f"{device.cores} cores", device.power_mode]
        found[device.name] = ", ".join(part for part in parts if part) + f"; measured {row.record.created_utc}"
    return list(found.items())


def _environments(rows: Sequence[Row]) -> list[str]:
    found = (", ".join(f"{name} {what or 'absent'}" for name, what in row.record.environment.items()) for row in rows)
    return [text for text in dict.fromkeys(found) if text]


def _limit(row: Row) -> str:
    from benchmarks.records.screen import limit_text

    limit = row.record.limit
    probe = limit is not None and (limit.gflops, limit.gb_s, limit.us) != (None, None, None)
    return limit_text(row.record) if probe else ""


def _as_script_text(content: Any) -> str:
    """JSON that ends no script element, whatever names it holds."""
    text = json.dumps(content, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise UserError("plotly is missing: pip install -e '.[report]'") from None
    return str(get_plotlyjs())
