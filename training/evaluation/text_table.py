"""Tables of figures in a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence


def number(value: float | None, digits: int = 2) -> str:
    """Return a figure as text; a dash for what was not measured."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def print_columns(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> None:
    """Print columns as wide as they need be, all but those named `left` aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        pairs = enumerate(zip(row, widths, strict=True))
        sides = [text.ljust(width) if i in left else text.rjust(width) for i, (text, width) in pairs]
        print("  ".join(sides).rstrip())
