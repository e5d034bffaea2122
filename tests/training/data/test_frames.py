"""Frames: names, subsets, and images that are not on disk."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from training.data.frames import PER_IMAGE, Frames, Names, drop_missing
from training.data.readers.interhand import read_frames

HANDS = load_hand_models()


@pytest.fixture
def frames(synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Frames:
    """48 images in a folder that a test may damage, and a cache of its own."""
    monkeypatch.setenv("ER_EDGE_CACHE", str(tmp_path / "cache"))
    shutil.copytree(synthetic_root, tmp_path / "set")
    return read_frames(tmp_path / "set", "train", HANDS)


def test_names() -> None:
    names = Names(np.array([name.encode() for name in ("a/b.jpg", "ä.jpg", "c.jpg")], np.bytes_))
    assert len(names) == 3 and list(names) == names.tolist() == ["a/b.jpg", "ä.jpg", "c.jpg"]
    assert names[1] == "ä.jpg" and names[-1] == "c.jpg" and names[np.int64(0)] == "a/b.jpg"
    assert names[1:].tolist() == names[np.array([1, 2])].tolist() == names[np.array([0, 1, 1], bool)].tolist()
    assert np.isin(names, ["ä.jpg"]).tolist() == [False, True, False]


@pytest.mark.parametrize("kind", ["mask", "indices", "slice"])
def test_subset(frames: Frames, kind: str) -> None:
    rows = [2, 3, 5] if kind != "slice" else [2, 3, 4]
    chosen = {"mask": np.isin(np.arange(48), rows), "indices": np.array(rows), "slice": slice(2, 5)}[kind]
    few = frames.subset(chosen)
    assert len(few) == 3
    for key in PER_IMAGE:
        assert np.array_equal(np.asarray(getattr(few, key)), np.asarray(getattr(frames, key))[rows])
    assert few.shape is frames.shape


def test_every_array_over_images_is_cut(frames: Frames) -> None:
    """A field over images that PER_IMAGE forgets would stay whole."""
    over_images = {key for key, value in frames.__dict__.items() if hasattr(value, "__len__") and len(value) == 48}
    assert over_images - {"name"} == set(PER_IMAGE)


def test_first_copies_nothing(frames: Frames) -> None:
    assert np.shares_memory(frames.first(5).bbox, frames.bbox)


def test_missing_images_are_named(frames: Frames) -> None:
    gone = [frames.file_names[i] for i in (40, 3, 17)]
    for name in gone:
        (frames.image_root / name).unlink()
    shutil.rmtree((frames.image_root / frames.file_names[0]).parent)
    assert set(gone) < set(frames.missing_images())
    assert frames.missing_images() == [n for n in frames.file_names if not (frames.image_root / n).is_file()]
    rest, missing = drop_missing(frames)
    assert missing == frames.missing_images() and rest.missing_images() == []
    assert rest.file_names.tolist() == [name for name in frames.file_names if name not in missing]


def test_nothing_missing_is_remembered_and_something_missing_is_not(
    frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = frames.image_root / frames.file_names[0]
    aside = path.rename(path.with_suffix(".aside"))
    assert frames.missing_images() == [frames.file_names[0]]
    aside.rename(path)
    assert drop_missing(frames) == (frames, [])
    monkeypatch.setattr(os, "scandir", lambda _: pytest.fail("looked again"))
    assert frames.missing_images() == []
    with pytest.raises(pytest.fail.Exception):
        frames.first(5).missing_images()  # other names


def test_no_image_at_all(frames: Frames, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none of the 48 images is below"):
        drop_missing(replace(frames, image_root=tmp_path / "nowhere"))
