"""A damaged or missing picture is left out of a training set, by name; evaluation and reading refuse it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from training.data.augment import AugmentSpec
from training.data.dataset import HandDataset
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
    dataset = HandDataset(frames, PX, AugmentSpec(), seed=3)
    expected = dataset[(1, 5)]
    capsys.readouterr()
    for _ in range(2):
        sample = dataset[(last, 5)]  # the next one is damaged, too
        assert sample["key"].tolist() == [1, 5]
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
        HandDataset(gone, PX)[3]
