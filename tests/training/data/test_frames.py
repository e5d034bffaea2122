"""Frames: subsets, pickles, and images that are not on disk."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from training.data.frames import PER_IMAGE, Frames, drop_missing
from training.data.readers.interhand import read_frames


@pytest.fixture
def frames(synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Frames:
    """48 images in a folder that a test may damage, and a cache of its own."""
    monkeypatch.setenv("ER_EDGE_CACHE", str(tmp_path / "cache"))
    shutil.copytree(synthetic_root, tmp_path / "set")
    return read_frames(tmp_path / "set", "train", load_hand_models())


@pytest.mark.parametrize("chosen", [np.isin(np.arange(48), [2, 3, 4]), np.array([2, 3, 4]), slice(2, 5)])
def test_a_subset_cuts_every_array_over_images(frames: Frames, chosen: slice | np.ndarray) -> None:
    points, hidden, kinds = np.zeros((48, 2, 21, 2), np.float32), np.zeros((48, 2, 21), bool), np.arange(48)
    frames = replace(frames, points_px=points, occluded=hidden, kind_of=kinds)
    few = frames.subset(chosen)
    over_images = {key for key, value in frames.__dict__.items() if isinstance(value, np.ndarray) and len(value) == 48}
    over_images -= {"camera_position_m", "camera_rotation", "focal_px", "principal_px"}  # a camera for each image
    assert len(few) == 3 and over_images == set(PER_IMAGE) and few.shape is frames.shape
    for key in PER_IMAGE:
        assert np.array_equal(getattr(few, key), getattr(frames, key)[2:5])


def test_first_copies_nothing(frames: Frames) -> None:
    assert len(frames.first(5)) == 5 and np.shares_memory(frames.first(5).bbox, frames.bbox)
    with pytest.raises(UserError, match="are needed"):
        frames.first(10_000)


@pytest.mark.parametrize("count", [48, 7])
def test_pickled_frames_share_the_mapped_files(frames: Frames, count: int) -> None:
    """As loading processes get them: paths travel, not arrays; subsets keep the arrays over poses mapped."""
    few = frames.first(count)
    packed = pickle.dumps(few)
    copied = pickle.loads(packed)
    assert len(packed) < 8000 and isinstance(copied.joints_world_m, np.memmap)
    assert all(np.array_equal(value, getattr(few, key)) for key, value in copied.__dict__.items())


def test_missing_images_are_named(frames: Frames, tmp_path: Path) -> None:
    for index in (40, 3, 17):
        frames.path(index).unlink()
    shutil.rmtree(frames.path(0).parent)
    rest, missing = drop_missing(frames)
    gone = [index for index in range(48) if not frames.path(index).is_file()]
    assert {0, 3, 17, 40} <= set(gone) and missing == [frames.file_names[index].decode() for index in gone]
    assert rest.file_names.tolist() == np.delete(frames.file_names, gone).tolist()
    assert drop_missing(rest) == (rest, [])
    with pytest.raises(UserError, match="none of the 48 images is below"):
        drop_missing(replace(frames, image_root=tmp_path / "nowhere"))
