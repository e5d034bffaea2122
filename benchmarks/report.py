"""One self-contained page of records: python benchmarks/report.py RECORDS... -o report.html

What the rows say in words, plots, examples, table, doubts and commands in one file that needs no network. The raw
samples beside the records (.npz) give joints, occlusion and examples; without them these parts are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

if not __package__:  # run as a file: packages are found from the project's root, and this folder hides none
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.page.drawing import write_png
from benchmarks.page.figure_table import to_csv, to_markdown
from benchmarks.page.html import make_page
from benchmarks.page.plots import make_plots
from benchmarks.page.rows import measured, read_rows
from compress.precision_plan import read_plan
from runtime.errors import CommandParser, UserError, run_command
from runtime.files import write_text_atomic


@dataclass(frozen=True)
class ReportRequest:
    """What to read, and what to write; None: not."""

    records: tuple[Path, ...]
    plans: tuple[Path, ...] = ()  # of python -m compress.sensitivity
    html: Path | None = None
    csv: Path | None = None
    markdown: Path | None = None
    png: Path | None = None  # a folder


def write_report(request: ReportRequest) -> list[Path]:
    """Write all files asked for, atomically. UserError for what cannot be read or has no row that ran."""
    rows = read_rows(request.records)
    shown = measured(rows)
    if not shown:
        raise UserError(f"no row of {', '.join(map(str, request.records))} came to an end: measure again")
    written = []
    for path, write in ((request.csv, to_csv), (request.markdown, to_markdown)):
        if path is not None:
            write_text_atomic(path, write(shown))
            written.append(path)
    if request.html is None and request.png is None:
        return written
    plots = make_plots(rows, [read_plan(path) for path in request.plans])
    if request.html is not None:
        write_text_atomic(request.html, make_page(rows, plots))
        written.append(request.html)
    if request.png is not None:
        for plot in tqdm(plots, desc="plots", unit="png", leave=False):
            path = request.png / f"{plot.key}.png"
            write_png(plot, path)
            written.append(path)
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line; write; say what and how large."""
    written = write_report(_parse(arguments))
    for path in written:
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    return 0


def _parse(arguments: Sequence[str] | None) -> ReportRequest:
    parser = CommandParser(__doc__ or "")
    parser.add_argument("records", type=Path, nargs="+", metavar="RECORDS", help="of python benchmarks/run.py")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.html", help="the page")
    parser.add_argument("--plans", type=Path, nargs="+", default=[], metavar="PLAN", help="of compress.sensitivity")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="all columns and digits")
    parser.add_argument("--md", type=Path, metavar="FILE", help="a table for a text")
    parser.add_argument("--png", type=Path, metavar="FOLDER", help="every plot, for print")
    args: argparse.Namespace = parser.parse_args(arguments)
    request = ReportRequest(
        tuple(args.records), tuple(args.plans), html=args.output, csv=args.csv, markdown=args.md, png=args.png
    )
    outputs = [path for path in (request.html, request.csv, request.markdown, request.png) if path is not None]
    if not outputs:
        raise UserError("nothing to write: give -o report.html, --csv, --md or --png")
    for path in outputs:
        if not path.parent.is_dir():
            raise UserError(f"there is no folder {path.parent}: create it first")
    if request.html is not None and request.html.suffix != ".html":
        raise UserError(f"{request.html} is no name for a page: end it in .html")
    if request.png is not None:
        try:
            request.png.mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(f"{request.png} cannot be a folder: {error.strerror}") from None
    return request


if __name__ == "__main__":
    run_command(main)
