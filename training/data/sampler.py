"""The order of the images: a function of the step alone, so that a resumed run sees what an uninterrupted one does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Sampler

TURN = 1000  # samples in which every data set gets its share, to one of them


@dataclass(frozen=True, eq=False)
class StepSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (image, epoch) from a given sample on: each data set's epoch is a seeded permutation of its images.

    Of `processes`, number `process` gets every so manieth sample of a batch. Epochs are counted modulo `draws`, where
    it is not 0, so that each image comes in so many augmentations only.
    """

    sizes: tuple[int, ...]  # images of each data set; they are numbered through
    batch: int
    start_sample: int
    steps: int
    seed: int
    process: int = 0
    processes: int = 1
    draws: int = 0
    shares: tuple[float, ...] = (1.0,)  # of the samples, by data set

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        parts, counts = self._turn()
        before = [int((parts[:place] == part).sum()) for place, part in enumerate(parts)]  # in the turn, of its own
        first = [0, *accumulate(self.sizes)]
        orders: dict[int, tuple[int, torch.Tensor]] = {}
        position = self.start_sample
        for _ in range(self.steps):
            keys = []
            for sample in range(position, position + self.batch):
                turn, place = divmod(sample, TURN)
                part = int(parts[place])
                epoch, number = divmod(turn * counts[part] + before[place], self.sizes[part])
                if part not in orders or orders[part][0] != epoch:
                    generator = torch.Generator().manual_seed(self.seed + epoch)
                    orders[part] = epoch, torch.randperm(self.sizes[part], generator=generator)
                draw = epoch % self.draws if self.draws else epoch
                keys.append((first[part] + int(orders[part][1][number]), draw))
            position += self.batch
            yield keys[self.process :: self.processes]

    def _turn(self) -> tuple[NDArray[np.integer], list[int]]:
        """Which data set each sample of a turn is of (TURN,), and how many are of each: at least 1."""
        ends = np.round(np.cumsum(self.shares) * TURN).astype(int)
        counts = np.maximum(np.diff(ends, prepend=0), 1)
        counts[counts.argmax()] += TURN - counts.sum()
        parts = np.repeat(np.arange(len(counts)), counts)
        return np.random.default_rng(self.seed).permutation(parts), counts.tolist()
