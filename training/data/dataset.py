"""The data sets that `--data` names, as torch data sets, and the order in which training sees their images."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from runtime.errors import UserError
from runtime.hand.hand_model import HandPair
from training.data.augment import AugmentSpec, draw
from training.data.frames import Frames
from training.data.mixture import Source
from training.data.readers import coco_wholebody, hic, hint, reinterhand
from training.data.readers.interhand import read_frames
from training.data.samples import load_sample, or_next

READERS = (hic, coco_wholebody, hint, reinterhand)  # beside InterHand2.6M's; each knows its files
TURN = 1000  # samples in which every data set gets its share, to one of them


def open_frames(data: str, split: str, hands: HandPair, count: int | None = None) -> Frames:
    """The images of a split: of the folder `data`, whose files tell the data set, or of a synthetic set.

    `count` takes the first so many images, the same on every machine; the synthetic set is generated up to there.
    A UserError for a data set that is not there or damaged.
    """
    root = Path(data)
    if Source(data).synthetic:
        from training.data.synthhands import SPLIT_IMAGES, TABLES, ensure_synthetic  # numba takes long to import

        count = SPLIT_IMAGES[split] if count is None else count
        return read_frames(ensure_synthetic(split, count, table=TABLES[data]), split, hands).first(count)
    found = [(reader, place) for reader in READERS if (place := reader.find_root(root))]
    if not found and root.is_dir() and not (root / "annotations").is_dir():
        known = "; ".join(f"{reader.NAME}: {reader.FILES}" for reader in READERS)
        raise UserError(f"{root} is no data set that can be read (InterHand2.6M: annotations/, images/; {known})")
    frames = found[0][0].read_frames(found[0][1], split, hands) if found else read_frames(root, split, hands)
    return frames if count is None else frames.first(min(count, len(frames)))


class HandDataset(Dataset[dict[str, Tensor]]):
    """Samples of data sets, numbered through, as dictionaries of tensors, keys as in Sample, the image as (3, S, S).

    In place of an image that is missing or damaged stands the next good one.
    """

    def __init__(
        self, parts: Sequence[Frames], crop_px: int, augment: AugmentSpec | None = None, seed: int = 0
    ) -> None:
        self.parts, self.crop_px, self.augment, self.seed = parts, crop_px, augment, seed
        self.ends = list(accumulate(map(len, parts)))
        self._told = torch.zeros(len(self), dtype=torch.bool).share_memory_()  # of all loading processes

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Tensor]:
        """`key` is an index, or (index, draw): the draw number seeds the augmentation, so a resumed run repeats it."""
        index, number = key if isinstance(key, tuple) else (key, 0)

        def load(at: int) -> dict[str, Tensor]:
            augmentation = None
            if self.augment is not None:
                augmentation = draw(self.augment, np.random.default_rng((self.seed, number, at)))
            part = bisect_right(self.ends, at)
            in_part = at - self.ends[part] + len(self.parts[part])
            sample = vars(load_sample(self.parts[part], in_part, self.crop_px, augmentation))
            tensors = {name: torch.from_numpy(np.asarray(value)) for name, value in sample.items()}
            return {**tensors, "image": tensors["image"].permute(2, 0, 1).contiguous()}

        return or_next(len(self), index, load, self._told.numpy())


def start_worker(_: int) -> None:
    """One thread per loading process: the processes are the parallelism."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


@dataclass(frozen=True, eq=False)
class StepSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (image, epoch) from a given sample on: each data set's epoch is a seeded permutation of its images.

    Of `processes`, number `process` gets every so manieth sample of a batch.
    """

    sizes: tuple[int, ...]  # images of each data set; they are numbered through
    batch: int
    start_sample: int
    steps: int
    seed: int
    process: int = 0
    processes: int = 1
    shares: tuple[float, ...] = (1.0,)  # of the samples, by data set

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        # Which data set each sample of a turn is of, and how many are of each: at least 1.
        ends = np.round(np.cumsum(self.shares) * TURN).astype(int)
        counts = np.maximum(np.diff(ends, prepend=0), 1)
        counts[counts.argmax()] += TURN - counts.sum()
        parts = np.random.default_rng(self.seed).permutation(np.repeat(np.arange(len(counts)), counts))
        before = [int((parts[:place] == part).sum()) for place, part in enumerate(parts)]  # in the turn, of its own
        first = [0, *accumulate(self.sizes)]
        orders: dict[int, tuple[int, torch.Tensor]] = {}
        position = self.start_sample
        for _ in range(self.steps):
            keys = []
            for sample in range(position, position + self.batch):
                turn, place = divmod(sample, TURN)
                part = int(parts[place])
                epoch, number = divmod(turn * int(counts[part]) + before[place], self.sizes[part])
                if part not in orders or orders[part][0] != epoch:
                    generator = torch.Generator().manual_seed(self.seed + epoch)
                    orders[part] = epoch, torch.randperm(self.sizes[part], generator=generator)
                keys.append((first[part] + int(orders[part][1][number]), epoch))
            position += self.batch
            yield keys[self.process :: self.processes]
