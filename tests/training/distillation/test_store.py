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
from training.distillation.lesson import Lesson, stored_shapes
from training.distillation.spec import DistillSpec
from training.distillation.store import StoredTeacher, StoreSpec, check_stored
from training.distillation.teacher import Batch, NetworkTeacher
from training.network import build

SPEC = StoreSpec(draws=2, seed=3, augment=AugmentSpec(), temperature=2.0, bf16=False)
DISTILL = DistillSpec("er-nano", joints=1.0, heatmap=1.0, temperature=2.0)
CPU = torch.device("cpu")
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
    return Counting(build("er-nano"), "er-nano", "ab" * 32, DISTILL, CPU)


def batch_of(frames: Frames, keys: list[tuple[int, int]] = KEYS, crop_px: int = 64) -> dict[str, Tensor]:
    dataset = HandDataset(frames, crop_px, SPEC.augment, SPEC.seed)
    return default_collate([dataset[key] for key in keys])


def test_stored_outputs_are_the_teachers(frames: Frames, teacher: Counting, tmp_path: Path) -> None:
    batch = batch_of(frames)
    assert batch["key"].tolist() == [list(key) for key in KEYS]
    expected = teacher.teach(batch)
    for _ in range(2):
        lesson = StoredTeacher(teacher, tmp_path, frames, SPEC).teach(batch)
        for name in stored_shapes((5, 5, 5), True):
            value, target = getattr(lesson, name), getattr(expected, name)
            assert value.dtype == torch.float32 and value.shape == target.shape
            assert torch.allclose(value, target, rtol=1e-3, atol=1e-3), name
    assert teacher.asked == 2 * len(KEYS)  # once for `expected`, once for both stores


def test_only_what_is_missing_is_computed(frames: Frames, teacher: Counting, tmp_path: Path) -> None:
    stored = StoredTeacher(teacher, tmp_path, frames, SPEC)
    first = stored.teach(batch_of(frames, [(0, 0), (5, 1)]))
    again = stored.teach(batch_of(frames, [(5, 1), (5, 0), (0, 0)]))
    assert teacher.asked == 3
    assert torch.equal(again.rotation6d[[2, 0]], first.rotation6d)
    assert not torch.equal(again.rotation6d[1], again.rotation6d[0])
    stored.teach(batch_of(frames, [(0, 0)], crop_px=96))  # another crop is another picture
    assert teacher.asked == 4 and len(list(tmp_path.iterdir())) == 2


def test_another_teacher_data_or_augmentation_is_another_store(
    frames: Frames, teacher: Counting, tmp_path: Path
) -> None:
    other = NetworkTeacher(teacher.network, "er-nano", "cd" * 32, DISTILL, CPU)
    moved = replace(frames, bbox=frames.bbox + 1)
    chosen = [
        StoredTeacher(teacher, tmp_path, frames, SPEC),
        StoredTeacher(other, tmp_path, frames, SPEC),
        StoredTeacher(teacher, tmp_path, moved, SPEC),
        StoredTeacher(teacher, tmp_path, frames.first(11), SPEC),
        *(
            StoredTeacher(teacher, tmp_path, frames, replace(SPEC, **change))
            for change in ({"seed": 4}, {"draws": 3}, {"temperature": None}, {"augment": AugmentSpec(flip=0.0)})
        ),
    ]
    assert len({stored.folder(64) for stored in chosen}) == len(chosen)


def test_a_disk_too_small_is_said_before(
    frames: Frames, teacher: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(UserError, match="0 MiB free, the stored outputs need up to"):
        StoredTeacher(teacher, tmp_path / "deep" / "er", frames, SPEC).open(64)
    assert not list((tmp_path / "deep" / "er").iterdir())


def test_recomputed_outputs_agree(frames: Frames, teacher: Counting, tmp_path: Path) -> None:
    stored = StoredTeacher(teacher, tmp_path, frames, SPEC)
    stored.teach(batch_of(frames))
    stored.teach(batch_of(frames, [(1, 1)], crop_px=96))
    count, largest = check_stored(StoredTeacher(teacher, tmp_path, frames, SPEC), (64, 96), 100, CPU)
    assert count == 4 and largest < 1
    assert check_stored(stored, (64, 96), 2, CPU)[0] == 2
    with pytest.raises(UserError, match="nothing is stored"):
        check_stored(StoredTeacher(teacher, tmp_path / "other", frames, SPEC), (64,), 5, CPU)


@pytest.mark.parametrize("truncated", [False, True])
def test_a_torn_row_is_computed_again(frames: Frames, teacher: Counting, tmp_path: Path, truncated: bool) -> None:
    stored = StoredTeacher(teacher, tmp_path, frames, SPEC)
    whole = stored.teach(batch_of(frames))
    if truncated:  # and filled with zeros again, as after a power cut
        path = stored.folder(64) / "rows.npy"
        size = path.stat().st_size
        os.truncate(path, size // 2)  # rows 11 and 22 of 24 are torn or gone
        os.truncate(path, size)
    else:
        stored.open(64)["values"][11, :50] = 0
    again = StoredTeacher(teacher, tmp_path, frames, SPEC).teach(batch_of(frames))
    assert teacher.asked == len(KEYS) + (2 if truncated else 1)
    assert torch.allclose(again.rotation6d, whole.rotation6d, atol=1e-3)


@pytest.mark.parametrize("content", [b"no array", None])
def test_a_damaged_store_is_named(frames: Frames, teacher: Counting, tmp_path: Path, content: bytes | None) -> None:
    stored = StoredTeacher(teacher, tmp_path, frames, SPEC)
    stored.open(64)
    path = stored.folder(64) / "rows.npy"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"are damaged.*remove that folder") as caught:
        StoredTeacher(teacher, tmp_path, frames, SPEC).open(64)
    assert "\n" not in str(caught.value)
