"""How far a file's hands on another CPU's arithmetic are from those on this machine's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from training.data.frames import Frames
from training.evaluation.predictions import evaluate
from training.evaluation.protocols import HandBatch

LIMIT_MM = 0.05

Found = Mapping[str, NDArray[Any]]  # as find_hands writes it


@dataclass(frozen=True)
class Agreement:
    """Of one file on one CPU with this machine, on the same crops.

    Where the float parts of a network differ in their last bit, a sum between two integers may round the other way, and
    every later layer amplifies that: single images of an int8 file differ by millimetres on exact CPUs, too. A CPU that
    computes something else differs in all images; hence the median.
    """

    cpu: str
    n_images: int
    dataset: str  # with "(synthetic)" where it is
    mpjpe_here_mm: float
    mpjpe_there_mm: float
    vertex_median_mm: float  # over images, of the mean distance between the vertices of hands that are there
    vertex_mean_mm: float
    vertex_max_mm: float
    images_beyond_limit: int  # whose mean distance is more than LIMIT_MM
    presence_changes: int  # of hands that are there on one and not on the other

    @property
    def mpjpe_difference_mm(self) -> float:
        """Return the other CPU's less this machine's."""
        return self.mpjpe_there_mm - self.mpjpe_here_mm

    @property
    def passed(self) -> bool:
        """Say whether the accuracy is the same within LIMIT_MM."""
        return abs(self.mpjpe_difference_mm) <= LIMIT_MM

    @property
    def same_hands(self) -> bool:
        """Say whether those of most images are, too. Not so where float parts come first and feed every integer."""
        return self.vertex_median_mm <= LIMIT_MM

    @property
    def figures(self) -> dict[str, Any]:
        """Return them for JSON."""
        verdict = {"passed": self.passed, "same_hands": self.same_hands}
        return asdict(self) | {"mpjpe_difference_mm": self.mpjpe_difference_mm} | verdict

    @property
    def sentence(self) -> str:
        """Return the figures in words."""
        verdict = ("passed" if self.passed else "FAILED") + ("" if self.same_hands else ", hands differ")
        return (
            f"{verdict}; MPJPE {self.mpjpe_here_mm:.3f} mm here, {self.mpjpe_there_mm:.3f} there ({self.dataset}, "
            f"{self.n_images} crops); vertices apart by {self.vertex_median_mm:.5f} mm in the median image, "
            f"{self.vertex_max_mm:.3f} at most, {self.images_beyond_limit} images beyond {LIMIT_MM} mm"
        )


def compare(cpu: str, frames: Frames, crop_px: int, here: Found, there: Found) -> Agreement:
    """Compare what was found on the crops of `frames` on this machine and on a CPU."""
    distance_mm = 1000 * np.linalg.norm(there["vertices"] - here["vertices"], axis=-1)  # (N, 2, 778)
    present = (here["present"] | there["present"]).astype(bool)
    per_image = np.array([rows[kept].mean() for rows, kept in zip(distance_mm, present, strict=True) if kept.any()])
    if len(per_image) == 0:
        raise UserError(f"no hand is found in {len(frames)} crops: there is nothing to compare")
    return Agreement(
        cpu=cpu,
        n_images=len(frames),
        dataset=frames.label,
        mpjpe_here_mm=mpjpe_mm(here, frames, crop_px),
        mpjpe_there_mm=mpjpe_mm(there, frames, crop_px),
        vertex_median_mm=float(np.median(per_image)),
        vertex_mean_mm=float(distance_mm[present].mean()),
        vertex_max_mm=float(distance_mm[present].max()),
        images_beyond_limit=int((per_image > LIMIT_MM).sum()),
        presence_changes=int((here["present"] != there["present"]).sum()),
    )


def mpjpe_mm(found: Found, frames: Frames, crop_px: int) -> float:
    """Return the mean joint error of what was found on `frames`."""
    seen = 0

    def replay(images: NDArray[np.float32]) -> HandBatch:
        nonlocal seen
        part = slice(seen, seen + len(images))
        seen += len(images)
        return HandBatch(**{key: value[part] for key, value in found.items()})

    return evaluate(replay, frames, crop_px, load_hand_models()).accuracy(frames.label).mpjpe_mm
