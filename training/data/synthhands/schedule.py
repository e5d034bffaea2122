"""What image k of a split is: its capture, frame and view, and the random stream that makes it.

A split is a row of captures; a capture has `CAPTURE_FRAMES` frames (poses), each seen by `FRAME_VIEWS` cameras. Splits
have disjoint capture numbers, which seed every random stream: they share no pose, hand shape or background. Shares of
the table are drawn without clumps, so that every stretch of a split holds about the same mix.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from runtime.errors import UserError
from training.data.synthhands.table import Table

SEED = 20261123

CAPTURE_FRAMES = 48
FRAME_VIEWS = 4
SHARD_FRAMES = 12  # written at once; divides CAPTURE_FRAMES
SHARD_IMAGES = SHARD_FRAMES * FRAME_VIEWS
SUBJECT_FRAMES = 6  # frames of one person, on end
SHARDS_PER_CAPTURE = CAPTURE_FRAMES // SHARD_FRAMES

SPLIT_CAPTURES = {"train": range(0, 500_000), "val": range(500_000, 600_000), "test": range(600_000, 700_000)}
# How many images a split has where nobody says how many.
SPLIT_IMAGES = {"train": 60_000, "val": 2_000, "test": 4_000}

INTERACTING, RIGHT, LEFT = "interacting", "right", "left"
NONE = "none"


class Stream(IntEnum):
    """What a random stream is for. Members keep their numbers: they are part of what makes an image."""

    SUBJECT = 1
    SCENE = 2  # of a frame
    VIEWS = 3
    LOOK = 4
    BACKGROUND = 5


class Trait(IntEnum):
    """What is drawn without clumps: of a frame, then of a picture."""

    KIND, APART, STRANGERS = 0, 1, 2
    STAND, TURN, DISTANCE, CUT, LOOSE, SHARP, ADORNED, BODIES, COVERED = 3, 4, 5, 6, 7, 8, 9, 10, 11


_STEPS = np.sqrt([2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37])  # irrational: multiples fill 0..1 evenly


def random_stream(table: Table, stream: Stream, capture: int, frame: int = 0, attempt: int = 0) -> np.random.Generator:
    """The generator for one purpose."""
    return np.random.default_rng([table.version, SEED, int(stream), capture, frame, attempt])


def place(trait: Trait, capture: int, number: int) -> float:
    """0..1, evenly over the numbers (of frames, or of pictures) of a capture: below a share, the trait is there."""
    return float(((capture * 0.7548776662 + 1) * 7.31 * (trait + 1) + number * _STEPS[trait]) % 1)


def hand_type(table: Table, capture: int, frame: int) -> str:
    """interacting, right, left or none: what a frame shows."""
    at = place(Trait.KIND, capture, frame)
    if at < table.empty:
        return NONE
    if at < table.empty + table.single:
        return RIGHT if at < table.empty + table.single / 2 else LEFT
    return INTERACTING


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
