"""Several data sets in one training run, each with its share of the samples: `--data A:1 B:0.5 synthetic:2`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from training.data.frames import Frames
from training.data.sources import Source


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


FrameSet = Frames | Mixture


def mix(parts: Sequence[Frames], sources: Sequence[Source]) -> FrameSet:
    """One data set as it is, several as a mixture."""
    return parts[0] if len(parts) == 1 else Mixture(tuple(parts), tuple(source.weight for source in sources))
