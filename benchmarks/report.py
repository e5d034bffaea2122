"""One self-contained page of records: python benchmarks/report.py RECORDS... -o report.html

What the rows say in words, plots, examples, table, doubts and commands in one file that needs no network. The raw
samples beside the records (.npz) give joints and examples; without them these parts are left out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if not __package__:  # run as a file: packages are found from the project's root, and this folder hides none
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.page.rows import measured, read_rows
from benchmarks.records.columns import to_csv
from runtime.errors import CommandParser, UserError, run_command
from runtime.files import write_text_atomic


def main(arguments: list[str] | None = None) -> int:
    """Write all files asked for, atomically; say what and how large."""
    args = _parse(arguments)
    rows = read_rows(args.records)
    shown = measured(rows)
    if not shown:
        raise UserError(f"no row of {', '.join(map(str, args.records))} came to an end: measure again")
    try:  # matplotlib and jinja2 are heavy, and the report alone needs them
        from benchmarks.page.drawing import write_png
        from benchmarks.page.html import make_page
        from benchmarks.page.plots import make_plots
    except ImportError as error:
        raise UserError(f"{error.name} is missing: pip install -e '.[report]'") from None
    plots = make_plots(rows)
    texts = {args.output: make_page(rows, plots)}
    if args.csv is not None:
        texts[args.csv] = to_csv([row.record for row in shown])
    for path, text in texts.items():
        write_text_atomic(path, text)
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    if args.png is not None:
        args.png.mkdir(parents=True, exist_ok=True)
        for plot in plots:
            write_png(plot, args.png / f"{plot.key}.png")
        print(f"{args.png}: {len(plots)} plots")
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__ or "")
    parser.add_argument("records", type=Path, nargs="+", metavar="RECORDS", help="of python benchmarks/run.py")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.html", help="the page")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="all columns and digits")
    parser.add_argument("--png", type=Path, metavar="FOLDER", help="every plot, for print")
    args = parser.parse_args(arguments)
    if args.output.suffix != ".html":
        raise UserError(f"{args.output} is no name for a page: end it in .html")
    if args.png is not None and args.png.exists() and not args.png.is_dir():
        raise UserError(f"{args.png} cannot be a folder: it is a file")
    return args


if __name__ == "__main__":
    run_command(main)
