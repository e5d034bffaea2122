"""What image k of a split is: its capture, frame and view, and the random stream that makes it.

A split is a row of captures; a capture has `CAPTURE_FRAMES` frames (poses), each seen by `FRAME_VIEWS` cameras. Splits
have disjoint capture numbers, which seed every random stream: they share no pose, hand shape or background.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from runtime.errors import UserError

GENERATOR_VERSION = 1
SEED = 20261123

CAPTURE_FRAMES = 48
FRAME_VIEWS = 4
SHARD_FRAMES = 12  # written at once; divides CAPTURE_FRAMES
SHARD_IMAGES = SHARD_FRAMES * FRAME_VIEWS
SUBJECT_FRAMES = 6  # frames of one person, on end
SHARDS_PER_CAPTURE = CAPTURE_FRAMES // SHARD_FRAMES

SPLIT_CAPTURES = {
    "train": range(0, 500_000),
    "val": range(500_000, 600_000),
    "test": range(600_000, 700_000),
}
# How many images a split has where nobody says how many.
SPLIT_IMAGES = {"train": 60_000, "val": 2_000, "test": 4_000}

INTERACTING, RIGHT, LEFT = "interacting", "right", "left"
# Two thirds interacting; the pattern makes every shard hold the same mix.
_HAND_TYPES = (INTERACTING, INTERACTING, RIGHT, INTERACTING, INTERACTING, LEFT)


class Stream(IntEnum):
    """What a random stream is for. Members keep their numbers: they are part of what makes an image."""

    CAMERAS = 0  # of a capture
    SUBJECT = 1
    SCENE = 2  # of a frame
    VIEWS = 3
    LOOK = 4  # of an image


def random_stream(stream: Stream, capture: int, frame: int = 0, view: int = 0, attempt: int = 0) -> np.random.Generator:
    """The generator for one purpose. Always seven numbers: SeedSequence takes [1] and [1, 0] for the same."""
    return np.random.default_rng([GENERATOR_VERSION, SEED, int(stream), capture, frame, view, attempt])


def hand_type(frame: int) -> str:
    """interacting, right or left: what a frame shows."""
    return _HAND_TYPES[frame % len(_HAND_TYPES)]


@dataclass(frozen=True)
class Shard:
    """`SHARD_FRAMES` frames on end of one capture: what is made and written in one piece."""

    split: str
    index: int

    @property
    def capture(self) -> int:
        return SPLIT_CAPTURES[self.split][self.index // SHARDS_PER_CAPTURE]

    @property
    def frames(self) -> range:
        first = self.index % SHARDS_PER_CAPTURE * SHARD_FRAMES
        return range(first, first + SHARD_FRAMES)

    @property
    def first_image(self) -> int:
        """The number, within the split, of the shard's first image."""
        return self.index * SHARD_IMAGES


def shards_for(split: str, n_images: int) -> list[Shard]:
    """The shards that hold the first `n_images` of a split."""
    if split not in SPLIT_CAPTURES:
        raise UserError(f"unknown split '{split}': choose one of {', '.join(SPLIT_CAPTURES)}")
    limit = len(SPLIT_CAPTURES[split]) * CAPTURE_FRAMES * FRAME_VIEWS
    if not 1 <= n_images <= limit:
        raise UserError(f"cannot make {n_images} images of '{split}': ask for 1 to {limit}")
    return [Shard(split, index) for index in range(-(-n_images // SHARD_IMAGES))]
