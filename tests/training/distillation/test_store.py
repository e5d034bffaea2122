"""Stored teacher outputs: what they hold, when they are computed, and what happens to damaged ones."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import default_collate

from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from training.data.augment import AugmentSpec
from training.data.dataset import HandDataset, open_frames
from training.data.frames import Frames
from training.distillation import store
from training.distillation.spec import DistillSpec
from training.distillation.teacher import Batch, Lesson, NetworkTeacher, StoredTeacher
from training.network import build
from training.recipe import Recipe, Stage

SPEC = DistillSpec("er-nano", joints=1.0, heatmap=1.0, temperature=2.0, draws=2)
RECIPE = Recipe("er-nano", (Stage(64, 4, 4),), seed=3)
KEYS = [(0, 0), (5, 1), (11, 0)]


class Counting(NetworkTeacher):
    """Remembers how many images it was asked for."""

    asked = 0

    def teach(self, batch: Batch) -> Lesson:
        self.asked += len(batch["image"])
        return super().teach(batch)


@pytest.fixture(scope="module")
def frames(synthetic_root: Path) -> Frames:
    return open_frames("synthetic", "train", load_hand_models(), 12)


@pytest.fixture
def teacher() -> Counting:
    torch.manual_seed(0)
    return Counting(build("er-nano"), "er-nano", "ab" * 32, SPEC, torch.device("cpu"))


@pytest.fixture
def stored(teacher: Counting, tmp_path: Path, frames: Frames) -> StoredTeacher:
    return StoredTeacher(teacher, tmp_path / "store", frames, RECIPE, SPEC)


def batch_of(frames: Frames, keys: list[tuple[int, int]] = KEYS, crop_px: int = 64) -> dict[str, Tensor]:
    dataset = HandDataset(frames, crop_px, RECIPE.augment, RECIPE.seed)
    return default_collate([dataset[key] for key in keys])


def test_stored_outputs_are_the_teachers(frames: Frames, teacher: Counting, stored: StoredTeacher) -> None:
    batch = batch_of(frames)
    expected = teacher.teach(batch)
    for again in (stored, StoredTeacher(teacher, stored.folder, frames, RECIPE, SPEC)):
        lesson = again.teach(batch)
        for name, target in expected._asdict().items():
            torch.testing.assert_close(getattr(lesson, name), target, rtol=1e-3, atol=1e-3)
    assert teacher.asked == 2 * len(KEYS)  # once for `expected`, once for both stores


def test_only_what_is_missing_is_computed(frames: Frames, teacher: Counting, stored: StoredTeacher) -> None:
    first = stored.teach(batch_of(frames, [(0, 0), (5, 1)]))
    again = stored.teach(batch_of(frames, [(5, 1), (5, 0), (0, 0)]))
    assert teacher.asked == 3
    assert torch.equal(again.rotation6d[[2, 0]], first.rotation6d)
    assert not torch.equal(again.rotation6d[1], again.rotation6d[0])
    stored.teach(batch_of(frames, [(0, 0)], crop_px=96))  # another crop is another picture
    assert teacher.asked == 4 and len(list(stored.folder.iterdir())) == 2


def test_another_teacher_data_or_augmentation_is_another_store(
    frames: Frames, teacher: Counting, stored: StoredTeacher
) -> None:
    other = NetworkTeacher(teacher.network, "er-nano", "cd" * 32, SPEC, torch.device("cpu"))
    chosen = [
        stored,
        StoredTeacher(other, stored.folder, frames, RECIPE, SPEC),
        StoredTeacher(teacher, stored.folder, replace(frames, bbox=frames.bbox + 1), RECIPE, SPEC),
        StoredTeacher(teacher, stored.folder, frames.first(11), RECIPE, SPEC),
        StoredTeacher(teacher, stored.folder, frames, replace(RECIPE, seed=4), SPEC),
        StoredTeacher(teacher, stored.folder, frames, replace(RECIPE, augment=AugmentSpec(flip=0.0)), SPEC),
        StoredTeacher(teacher, stored.folder, frames, RECIPE, replace(SPEC, draws=3)),
        StoredTeacher(teacher, stored.folder, frames, RECIPE, replace(SPEC, heatmap=0.0)),
        StoredTeacher(teacher, stored.folder, frames, RECIPE, replace(SPEC, bf16=True)),
    ]
    for one in chosen:
        one.open(64)
    assert len(list(stored.folder.iterdir())) == len(chosen)


def test_a_disk_too_small_is_said_before(stored: StoredTeacher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(UserError, match="0 MiB free, the stored outputs need up to"):
        stored.open(64)
    assert not list(stored.folder.iterdir())


@pytest.mark.parametrize("truncated", [False, True])
def test_a_torn_row_is_computed_again(
    frames: Frames, teacher: Counting, stored: StoredTeacher, truncated: bool
) -> None:
    whole = stored.teach(batch_of(frames))
    if truncated:  # and filled with zeros again, as after a power cut
        (path,) = stored.folder.iterdir()
        size = path.stat().st_size
        os.truncate(path, size // 2)  # rows 11 and 22 of 24 are torn or gone
        os.truncate(path, size)
    else:
        stored.open(64)["plane"][11, 0] = 0
    again = StoredTeacher(teacher, stored.folder, frames, RECIPE, SPEC).teach(batch_of(frames))
    assert teacher.asked == len(KEYS) + (2 if truncated else 1)
    assert torch.allclose(again.rotation6d, whole.rotation6d, atol=1e-3)


def test_a_damaged_store_is_named(frames: Frames, teacher: Counting, stored: StoredTeacher) -> None:
    stored.open(64)
    (path,) = stored.folder.iterdir()
    path.unlink()
    path.write_bytes(b"no array")
    with pytest.raises(UserError, match=r"are damaged.*remove that file"):
        StoredTeacher(teacher, stored.folder, frames, RECIPE, SPEC).open(64)
