"""Several data sets in one training run, each with its share of the samples: `--data A:1 B:0.5 synthetic:2`.

Read without what reads the data: command lines must be quick.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from runtime.errors import UserError

if TYPE_CHECKING:
    from training.data.frames import Frames

SYNTHETIC, SYNTHETIC_V1 = "synthetic", "synthetic-v1"  # the set now, and as it was first


@dataclass(frozen=True)
class Source:
    """What --data names: a folder or the synthetic set, and how many of its samples come beside the others'."""

    data: str
    weight: float = 1.0

    @property
    def synthetic(self) -> bool:
        """Whether it is drawn, not read from a folder."""
        return self.data in (SYNTHETIC, SYNTHETIC_V1)


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


@dataclass(frozen=True, eq=False)
class Mixture:
    """Images of several data sets, numbered through; weights say how many samples each gives, whatever its size."""

    parts: tuple[Frames, ...]
    weights: tuple[float, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the samples, by part."""
        return tuple(weight / sum(self.weights) for weight in self.weights)

    @property
    def synthetic(self) -> bool:
        """Whether any of it is."""
        return any(part.synthetic for part in self.parts)

    @property
    def name(self) -> str:
        """The data sets with their weights."""
        return ", ".join(f"{part.name} x {w:g}" for part, w in zip(self.parts, self.weights, strict=True))

    @property
    def label(self) -> str:
        """As the name, with what is synthetic."""
        return ", ".join(f"{part.label} x {w:g}" for part, w in zip(self.parts, self.weights, strict=True))

    def at(self, index: int) -> tuple[Frames, int]:
        """The part that image `index` is of, and its number there."""
        for part, end in zip(self.parts, accumulate(map(len, self.parts)), strict=True):
            if index < end:
                return part, index - end + len(part)
        raise IndexError(index)


FrameSet: TypeAlias = "Frames | Mixture"


def mix(parts: Sequence[Frames], sources: Sequence[Source]) -> FrameSet:
    """One data set as it is, several as a mixture."""
    return parts[0] if len(parts) == 1 else Mixture(tuple(parts), tuple(source.weight for source in sources))
