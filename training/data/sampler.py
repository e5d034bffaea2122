"""The order of the images: a function of the step alone, so that a resumed run sees what an uninterrupted one does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.utils.data import Sampler


@dataclass(frozen=True, eq=False)
class StepSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (image, epoch) from a given sample on: each epoch is a seeded permutation of all images.

    Of `shares` processes, number `share` gets every so manieth sample of a batch. Epochs are counted modulo `draws`,
    where it is not 0, so that each image comes in so many augmentations only.
    """

    images: int
    batch: int
    start_sample: int
    steps: int
    seed: int
    share: int = 0
    shares: int = 1
    draws: int = 0

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = -1, torch.empty(0, dtype=torch.long)
        position = self.start_sample
        for _ in range(self.steps):
            keys = []
            for sample in range(position, position + self.batch):
                if sample // self.images != epoch:
                    epoch = sample // self.images
                    order = torch.randperm(self.images, generator=torch.Generator().manual_seed(self.seed + epoch))
                draw = epoch % self.draws if self.draws else epoch
                keys.append((int(order[sample % self.images]), draw))
            position += self.batch
            yield keys[self.share :: self.shares]
