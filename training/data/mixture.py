"""Several data sets in one training run, each with its share of the samples: `--data A:1 B:0.5 synthetic:2`.

Read without what reads the data: command lines must be quick.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
    """Images of one data set or several; weights say how many samples each gives, whatever its size."""

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
        """The data sets', with their weights where there are several."""
        return self._listed([part.name for part in self.parts])

    @property
    def label(self) -> str:
        """As the name, with what is synthetic."""
        return self._listed([part.label for part in self.parts])

    def _listed(self, names: list[str]) -> str:
        weighted = ", ".join(f"{name} x {weight:g}" for name, weight in zip(names, self.weights, strict=True))
        return names[0] if len(names) == 1 else weighted
