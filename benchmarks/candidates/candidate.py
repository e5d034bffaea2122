"""What can be timed, as plain data, so that a fresh process (measure/memory.py) can be told to open just one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ARTIFACT, PEER, PROBE = "artifact", "peer", "probe"
PICTURE_SHAPE = (334, 512, 3)
PICTURE_BOX = (90.0, 30.0, 300.0, 260.0)


@dataclass(frozen=True)
class Candidate:
    """One row to be."""

    name: str
    kind: str  # ARTIFACT, PEER or PROBE
    engine: str  # of benchmarks.candidates.engines.ENGINES
    files: tuple[str, ...]  # one frame runs them in this order
    variant: str | None = None
    precision: str | None = None
    threaded: bool = True  # whether the number of threads can be set
    device: str = "auto"  # of the runner
    hand_model: str | None = None  # of the runner; None: the embedded one

    def to_json(self) -> dict[str, Any]:
        """For another process."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Candidate:
        """Out of this project's own process."""
        return cls(**{**content, "files": tuple(content["files"])})


@dataclass(frozen=True)
class Picture:
    """What the runner is given."""

    rgb: NDArray[np.uint8]  # (H, W, 3)
    box: tuple[float, float, float, float]  # x, y, width, height, px
    name: str


def noise_picture() -> Picture:
    """The same on every machine. Time does not depend on what is seen: the graphs have no branches."""
    rgb = np.random.default_rng(0).integers(0, 256, PICTURE_SHAPE, np.uint8)
    return Picture(rgb, PICTURE_BOX, "seeded noise")
