"""Damaged or missing pictures are left out of a training set, by name; the order depends on the step alone."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from training.data.augment import AugmentSpec
from training.data.dataset import HandDataset, StepSampler
from training.data.frames import Frames
from training.data.readers.interhand import read_frames
from training.data.samples import MAX_LEFT_OUT, drop_damaged, load_crop, load_sample

PX = 64


@pytest.fixture
def frames(synthetic_root: Path, tmp_path: Path) -> Frames:
    """Linked pictures, of which a test may replace some."""
    frames = read_frames(synthetic_root, "train", load_hand_models())
    for index in range(len(frames)):
        link = tmp_path / frames.file_names[index].decode()
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(frames.path(index), link)
    return replace(frames, image_root=tmp_path)


@pytest.mark.parametrize("content", [b"", b"no picture", "half", None])
def test_the_next_good_picture_stands_in(
    frames: Frames, capsys: pytest.CaptureFixture[str], content: bytes | str | None
) -> None:
    last = len(frames) - 1
    for path in (frames.path(last), frames.path(0)):
        whole = path.read_bytes()
        path.unlink()
        if content is not None:
            path.write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    dataset = HandDataset([frames], PX, AugmentSpec(), seed=3)
    expected = dataset[(1, 5)]
    capsys.readouterr()
    for _ in range(2):
        sample = dataset[(last, 5)]  # the next one is damaged, too
        assert all(np.array_equal(sample[name], value) for name, value in expected.items())
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 and all(str(frames.path(index)) in line for index, line in zip((last, 0), said, strict=True))
    assert np.array_equal(load_crop(frames, 0, PX), load_crop(frames, 1, PX))  # what is calibrated on
    good, damaged = drop_damaged(frames)
    assert len(good) == last - 1 and damaged == [frames.file_names[index].decode() for index in (0, last)]
    with pytest.raises(UserError, match=str(frames.path(0))):
        load_sample(frames, 0, PX)


def test_many_on_end_are_not_damaged_but_gone(frames: Frames) -> None:
    gone = replace(frames, image_root=frames.image_root / "unmounted")
    with pytest.raises(UserError, match=f"{MAX_LEFT_OUT} images on end"):
        HandDataset([gone], PX)[3]


def test_every_image_once_per_epoch_and_the_same_after_a_resume() -> None:
    batches = list(StepSampler(sizes=(10,), batch=4, start_sample=0, steps=5, seed=1))
    keys = [key for batch in batches for key in batch]
    assert sorted(index for index, epoch in keys if epoch == 0) == list(range(10))
    assert sorted(index for index, epoch in keys if epoch == 1) == list(range(10))
    assert [i for i, e in keys if e == 0] != [i for i, e in keys if e == 1]
    assert list(StepSampler((10,), 4, start_sample=12, steps=2, seed=1)) == batches[3:]


def test_processes_share_each_batch() -> None:
    whole = list(StepSampler((10,), 4, 0, 5, seed=1))
    shares = [list(StepSampler((10,), 4, 0, 5, seed=1, process=process, processes=2)) for process in range(2)]
    for step, batch in enumerate(whole):
        assert len(shares[0][step]) == len(shares[1][step]) == 2
        assert sorted(shares[0][step] + shares[1][step]) == sorted(batch)


def test_data_sets_come_by_their_shares_whatever_their_sizes() -> None:
    def sampler(start: int, steps: int) -> StepSampler:
        return StepSampler((10, 500, 40), 50, start, steps, seed=1, shares=(0.25, 0.125, 0.625))

    keys = [key for batch in sampler(0, 40) for key in batch]
    parts = [[key for key in keys if low <= key[0] < high] for low, high in ((0, 10), (10, 510), (510, 550))]
    assert [len(part) for part in parts] == [500, 250, 1250]
    for part, size in zip(parts, (10, 500, 40), strict=True):  # each goes through its own epochs
        assert [epoch for _, epoch in part] == [number // size for number in range(len(part))]
        assert len(set(part)) == len(part)
    assert keys[:50] != sorted(keys[:50])  # in turn, not one after the other
    assert [key for batch in sampler(1050, 3) for key in batch] == keys[1050:1200]
