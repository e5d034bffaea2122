"""What can be timed, as plain data, so that a fresh process (measure/memory.py) can be told to open just one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ARTIFACT, PEER, PROBE = "artifact", "peer", "probe"
# Rows that the report compares files of this project with, by name.
MEDIAPIPE_HANDS, BARE_BACKBONE = "MediaPipe 2 x hand landmarks", "bare backbone"


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

    @property
    def path(self) -> Path:
        """Return its first file."""
        return Path(self.files[0])

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON for another process."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Candidate:
        """Read what `to_json` wrote."""
        return cls(**{**content, "files": tuple(content["files"])})


@dataclass(frozen=True)
class Picture:
    """What the runner is given."""

    rgb: NDArray[np.uint8]  # (H, W, 3)
    box: tuple[float, float, float, float]  # x, y, width, height, px
    name: str


def noise_picture() -> Picture:
    """Return the same picture on every machine. Time does not depend on what is seen: the graphs have no branches."""
    rgb = np.random.default_rng(0).integers(0, 256, (334, 512, 3), np.uint8)
    return Picture(rgb, (90.0, 30.0, 300.0, 260.0), "seeded noise")


def network_name(stem: str) -> str:
    """Return the network's part of a file's name: `er-s`, `er-s-p30`."""
    return stem.split("_")[0]
