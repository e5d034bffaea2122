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
    first = frames.first(5)
    assert len(first) == 5 and np.shares_memory(first.bbox, frames.bbox)
    assert first.file_names.tolist() == frames.file_names.tolist()[:5]
    with pytest.raises(UserError, match="are needed"):
        frames.first(10_000)


def test_missing_images_are_named(frames: Frames) -> None:
    for index in (40, 3, 17):
        (frames.image_root / frames.file_names[index]).unlink()
    shutil.rmtree((frames.image_root / frames.file_names[0]).parent)
    rest, missing = drop_missing(frames)
    assert missing == [n for n in frames.file_names.tolist() if not (frames.image_root / n).is_file()]
    assert {frames.file_names[index] for index in (0, 3, 17, 40)} <= set(missing)
    assert rest.file_names.tolist() == [name for name in frames.file_names.tolist() if name not in missing]
    assert drop_missing(rest) == (rest, [])


@pytest.mark.parametrize("writable", [True, False])
def test_nothing_missing_is_remembered_and_something_missing_is_not(
    frames: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writable: bool
) -> None:
    path = frames.image_root / frames.file_names[0]
    aside = path.rename(path.with_suffix(".aside"))
    assert drop_missing(frames)[1] == [frames.file_names[0]]
    aside.rename(path)
    if not writable:
        monkeypatch.setenv("ER_EDGE_CACHE", str(path / "cache"))
    assert drop_missing(frames) == (frames, [])
    monkeypatch.setattr(os, "scandir", lambda _: pytest.fail("looked again"))
    if writable:
        assert drop_missing(frames) == (frames, [])
    with pytest.raises(pytest.fail.Exception):
        drop_missing(frames.first(5))  # other names


def test_no_image_at_all(frames: Frames, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none of the 48 images is below"):
        drop_missing(replace(frames, image_root=tmp_path / "nowhere"))


def test_the_label_says_what_is_synthetic(frames: Frames) -> None:
    assert frames.label == "SynthHands v1 (synthetic)"
    assert replace(frames, name="HIC", synthetic=False).label == "HIC"
