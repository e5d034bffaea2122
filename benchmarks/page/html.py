"""Everything in one file: message, table, plots, pictures. Nothing is fetched from anywhere."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.page.drawing import Plot, to_svg
from benchmarks.page.figure_table import shown_columns
from benchmarks.page.message import make_message
from benchmarks.page.rows import Group, Row, artifacts, groups, is_pruned, measured
from benchmarks.records.columns import Column
from benchmarks.records.raw_samples import EXAMPLES
from benchmarks.records.record import DOUBTFUL, FAILED, NOT_RUN, PROFILING
from benchmarks.records.screen import limit_text
from runtime.errors import UserError
from training.evaluation.published_figures import DATASET, Published, published_for

MAX_PICTURE_BYTES = 1_200_000  # of all examples together: the page stays below 3 MB
_JPEG = b"\xff\xd8\xff"
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Example:
    """One picture: the crop, and beside it what was found."""

    row: str
    which: str
    error_mm: float
    data: str  # base64 of a JPEG


def make_page(rows: Sequence[Row], plots: Sequence[Plot]) -> str:
    """Return the page as text."""
    try:
        import jinja2  # optional: the report alone needs it
    except ImportError:
        raise UserError("jinja2 is missing: pip install -e '.[report]'") from None

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = measured(rows)
    columns = shown_columns(shown)
    examples, left_out = pick_examples(rows)
    doubted = [row for row in rows if row.record.verdict.status in (DOUBTFUL, FAILED, PROFILING) and not _is_probe(row)]
    return environment.get_template("page.html").render(
        message=make_message(shown),
        synthetic=[group[0] for group in groups(rows) if _is_synthetic(rows, group)],
        devices=_devices(rows),
        columns=columns,
        records=[row.record for row in shown],
        choices=_choices(columns, shown),
        plots=[(plot, to_svg(plot)) for plot in plots],
        published=list(published(rows)),
        limits=[f"{row.title} {limit_text(row.record)}" for row in rows if limit_text(row.record)],
        doubted=doubted,
        causes=Counter(cause for row in doubted for cause in _causes(row)).most_common(),
        absent=[row.record for row in rows if row.record.verdict.status == NOT_RUN],
        examples=examples,
        left_out=left_out,
        commands=list(dict.fromkeys(row.record.command for row in rows)),
        environments=_environments(rows),
        style=(_FOLDER / "page.css").read_text(encoding="utf-8"),
        script=(_FOLDER / "page.js").read_text(encoding="utf-8"),
    )


def published(rows: Sequence[Row]) -> Iterator[tuple[str, tuple[Published, ...]]]:
    """Yield figures of others, only of a protocol and data set that are measured here."""
    for dataset, protocol in groups(rows):
        if dataset.split()[0] == DATASET and "synthetic" not in dataset and (found := published_for(protocol)):
            yield f"{dataset}, protocol {protocol}", found


def pick_examples(rows: Sequence[Row]) -> tuple[list[Example], list[str]]:
    """Pick pictures of each whole network's smallest file, then of others while there is room; and who is left out."""
    order = sorted(artifacts(rows), key=lambda row: (is_pruned(row.record), row.record.artifact.bytes or 0))
    smallest = {row.record.variant: row for row in reversed(order)}
    chosen = [row for row in order if row is smallest[row.record.variant]]
    examples: list[Example] = []
    left_out = []
    room = MAX_PICTURE_BYTES
    for row in [*chosen, *(row for row in order if row not in chosen)]:
        own = list(_examples(row))
        size = sum(len(example.data) for example in own)
        if size > room:
            left_out.append(row.record.name)
            continue
        room -= size
        examples += own
    return examples, left_out


def _examples(row: Row) -> Iterator[Example]:
    errors = row.seen("example_error_mm", 1)
    for which, error_mm in zip(EXAMPLES, errors, strict=False):
        data = row.seen(f"example_{which}", 1).tobytes()
        if data.startswith(_JPEG):  # samples come from outside
            yield Example(row.record.name, which, float(error_mm), base64.b64encode(data).decode())


def _choices(columns: Sequence[Column], rows: Sequence[Row]) -> list[tuple[int, str, list[str]]]:
    """Return index, title and values of the columns to filter by."""
    found = []
    for index, column in enumerate(columns):
        values = list(dict.fromkeys(column.text(row.record) for row in rows))
        if column.filtered and len(values) > 1:
            found.append((index, column.title, values))
    return found


def _causes(row: Row) -> set[str]:
    return {reason.split(":")[0] for reason in row.record.verdict.reasons}


def _is_probe(row: Row) -> bool:
    return row.record.kind == "probe"


def _is_synthetic(rows: Sequence[Row], group: Group) -> bool:
    accuracies = (row.record.accuracy for row in rows if row.group == group)
    return any(accuracy is not None and accuracy.synthetic for accuracy in accuracies)


def _devices(rows: Sequence[Row]) -> dict[str, str]:
    found = {}
    for row in rows:
        device = row.record.device
        parts = [device.os, None if device.cores is None else f"{device.cores} cores", device.power_mode]
        found[device.name] = ", ".join(part for part in parts if part) + f"; measured {row.record.created_utc[:10]}"
    return found


def _environments(rows: Sequence[Row]) -> list[str]:
    found = (", ".join(f"{name} {what or 'absent'}" for name, what in row.record.environment.items()) for row in rows)
    return [text for text in dict.fromkeys(found) if text]
