"""What --data names, read without what reads the data: command lines must be quick."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import UserError


@dataclass(frozen=True)
class Source:
    """What --data names: a folder or the synthetic set, and how many of its samples come beside the others'."""

    data: str
    weight: float = 1.0


def parse_source(word: str) -> Source:
    """`PLACE` or `PLACE:WEIGHT`; a word that is a path as it stands has no weight, nor has `C:\\hands`."""
    place, colon, number = word.rpartition(":")
    try:
        weight = float(number) if colon and place and not Path(word).exists() else None
    except ValueError:
        weight = None
    if weight is None:
        return Source(word)
    if not (math.isfinite(weight) and weight > 0):
        raise UserError(f"--data {word}: a weight is a number above 0")
    return Source(place, weight)
