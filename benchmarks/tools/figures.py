"""Write every measured figure anew where it stands, on README.md, docs/*.md and the models' cards: make figures

A page marks the places: <!-- NAME: made by make figures, do not edit -->, what is made, <!-- end -->.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.tools import tables
from benchmarks.tools.model_cards import current_cards
from runtime.errors import CommandParser, run_command
from runtime.files import write_text_atomic

MADE: dict[str, Callable[[], str]] = {
    "variants": tables.variants_table,
    "photographs": tables.photographs_text,
    "weights": tables.weights_table,
    "packages": tables.packages_table,
    **{kind: partial(tables.engine_table, kind) for kind in ("openvino", "litert", "web")},
}
MARKS = re.compile(r"(<!-- (\w+): made by make figures, do not edit -->\n)(.*?)(<!-- end -->)", re.S)
PAGES = (tables.ROOT / "README.md", *sorted((tables.ROOT / "docs").glob("*.md")))


def current_pages() -> dict[Path, str]:
    """Return all pages and cards as they should be."""
    pages = {path: MARKS.sub(_made, path.read_text(encoding="utf-8")) for path in PAGES}
    return pages | current_cards()


def _made(place: re.Match[str]) -> str:
    return f"{place[1]}{MADE[place[2]]()}\n{place[4]}"


def main(arguments: list[str] | None = None) -> int:
    """Write them."""
    CommandParser(__doc__).parse_args(arguments)
    for path, text in current_pages().items():
        write_text_atomic(path, text)
    return 0


if __name__ == "__main__":
    run_command(main)
