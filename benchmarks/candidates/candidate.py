"""What can be timed, as plain data, so that a fresh process (measure/memory.py) can be told to open just one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ARTIFACT, PEER = "artifact", "peer"
# Rows that the report compares files of this project with, by name.
MEDIAPIPE_HANDS, BARE_BACKBONE = "MediaPipe 2 x hand landmarks", "bare backbone"
BOX = (90.0, 30.0, 300.0, 260.0)  # x, y, width, height, px, in noise_picture


@dataclass(frozen=True)
class Candidate:
    """One row to be."""

    name: str
    kind: str  # ARTIFACT or PEER
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


def noise_picture() -> NDArray[np.uint8]:
    """Return the same picture on every machine. Time does not depend on what is seen: the graphs have no branches."""
    return np.random.default_rng(0).integers(0, 256, (334, 512, 3), np.uint8)


def network_name(stem: str) -> str:
    """Return the network's part of a file's name: `er-s`, `er-s-p30`."""
    return stem.split("_")[0]
