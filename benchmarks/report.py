"""One self-contained page of records: python benchmarks/report.py RECORDS... -o report.html

What the rows say in words, plots, tables, doubts and commands in one file that needs no network.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file: packages are found from the project's root, and this folder hides none
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.page.rows import measured, read_rows
from runtime.errors import CommandParser, UserError, run_command
from runtime.files import write_text_atomic


def main(arguments: list[str] | None = None) -> int:
    """Write the page, atomically; say how large it is."""
    parser = CommandParser(__doc__ or "")
    parser.add_argument("records", type=Path, nargs="+", metavar="RECORDS", help="of python benchmarks/run.py")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.html", help="the page")
    args = parser.parse_args(arguments)
    if args.output.suffix != ".html":
        raise UserError(f"{args.output} is no name for a page: end it in .html")
    rows = read_rows(args.records)
    if not measured(rows):
        raise UserError(f"no row of {', '.join(map(str, args.records))} came to an end: measure again")
    try:  # matplotlib and jinja2 are heavy, and the report alone needs them
        from benchmarks.page.html import make_page
        from benchmarks.page.plots import make_plots
    except ImportError as error:
        raise UserError(f"{error.name} is missing: pip install -e '.[report]'") from None
    write_text_atomic(args.output, make_page(rows, make_plots(rows)))
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    run_command(main)
