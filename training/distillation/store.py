"""A teacher's outputs on disk, computed once per image and augmentation and then read.

One folder per teacher, data, augmentation and crop size: `facts.json` for people, and `rows.npy`, one row of float16
and its CRC-32 per image and draw, 0 while it is not there. A row whose checksum is wrong, as after a power cut, is
computed again. A run can be interrupted at any moment, and several processes may fill one store.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
import shutil
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runtime.errors import UserError
from runtime.files import write_error
from training.checkpoint import frames_sha256
from training.data.augment import AugmentSpec
from training.data.dataset import HandDataset
from training.data.mixture import FrameSet
from training.distillation.lesson import Lesson, stored_shapes
from training.distillation.teacher import Batch, Teacher

FORMAT = 2
TOLERANCE = 5e-3  # absolute, and relative to larger values: float16's rounding and that of another batch size


@dataclass(frozen=True)
class StoreSpec:
    """What decides a store's values, beside the teacher and the images."""

    draws: int  # augmentations per image
    seed: int
    augment: AugmentSpec
    temperature: float | None  # of stored heat maps; None: not stored
    bf16: bool


class StoredTeacher:
    """A teacher that is asked only for what is not stored yet. Give it batches with the `key` of HandDataset."""

    def __init__(self, teacher: Teacher, root: Path, frames: FrameSet, spec: StoreSpec) -> None:
        self.teacher, self.root, self.frames, self.spec = teacher, root, frames, spec
        self.facts = teacher.facts
        self.shapes = stored_shapes(self.facts.grid, spec.temperature is not None)
        self.rows: dict[int, NDArray[np.void]] = {}  # mapped files, by crop size of the student

    def teach(self, batch: Batch) -> Lesson:
        """See Teacher. What is not stored is computed and stored; the answer is always what the store holds."""
        key, device = batch["key"].cpu().numpy(), batch["image"].device
        chosen = key[:, 0] * self.spec.draws + key[:, 1]
        rows = self.open(batch["image"].shape[-1])
        found = rows[chosen]
        there = np.array([row["check"] == checksum(row["values"]) for row in found])
        if not there.all():
            missing = torch.from_numpy(~there).to(device)
            values = self.compute({name: value[missing] for name, value in batch.items()})
            found["values"][~there] = values
            found["check"][~there] = [checksum(row) for row in values]
            rows[chosen[~there]] = found[~there]
        return self._unpack(torch.from_numpy(found["values"].copy()).to(device).float())

    def compute(self, batch: Batch) -> NDArray[np.float16]:
        """Rows (B, width) by the teacher."""
        lesson = self.teacher.teach(batch)._asdict()
        row = torch.cat([lesson[name].flatten(1).float() for name in self.shapes], dim=1)
        return row.half().cpu().numpy()

    def open(self, crop_px: int) -> NDArray[np.void]:
        """All rows of one crop size, mapped; created, sparse, where they are not there.

        UserError where they are damaged or the disk has no room.
        """
        if crop_px in self.rows:
            return self.rows[crop_px]
        folder, count = self.folder(crop_px), len(self.frames) * self.spec.draws
        if not folder.exists():
            _create(folder, self._facts(crop_px), count, _row_type(self.shapes))
        try:
            self.rows[crop_px] = np.load(folder / "rows.npy", mmap_mode="r+", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"the stored outputs in {folder} are damaged ({error}): remove that folder") from error
        return self.rows[crop_px]

    def folder(self, crop_px: int) -> Path:
        """Named by all that decides the values."""
        return self.root / hashlib.sha256(self._facts(crop_px).encode()).hexdigest()[:16]

    def _facts(self, crop_px: int) -> str:
        facts = {
            "format": FORMAT,
            "teacher": {"name": self.facts.name, "sha256": self.facts.sha256, "crop_px": self.facts.crop_px},
            "data": {"name": self.frames.name, "images": len(self.frames), "sha256": frames_sha256(self.frames)},
            "crop_px": crop_px,
            "shapes": self.shapes,
            **asdict(self.spec),
        }
        return json.dumps(facts, indent=1, sort_keys=True)

    def _unpack(self, values: Tensor) -> Lesson:
        parts = values.split([math.prod(shape) for shape in self.shapes.values()], dim=1)
        named = zip(self.shapes.items(), parts, strict=True)
        lesson = Lesson(**{name: part.unflatten(1, shape) for (name, shape), part in named})
        if lesson.plane is None or lesson.depth is None:
            return lesson
        plane, depth = lesson.plane, lesson.depth  # rounding must not change their sums
        return lesson._replace(plane=plane / plane.sum((-1, -2), keepdim=True), depth=depth / depth.sum(-1, True))


def check_stored(stored: StoredTeacher, crops_px: Iterable[int], count: int, device: torch.device) -> tuple[int, float]:
    """Recompute `count` stored rows, drawn anew each time: how many, and their largest difference over the tolerance.

    UserError where nothing is stored or a row differs by more than the tolerance.
    """
    kept = [(crop_px, row) for crop_px in crops_px for row in np.flatnonzero(stored.open(crop_px)["check"])]
    if not kept:
        raise UserError(f"nothing is stored in {stored.root} for this teacher, data and recipe: train with it first")
    chosen = np.random.default_rng().choice(kept, min(count, len(kept)), replace=False)
    largest = 0.0
    for crop_px, row in chosen.tolist():
        index, draw = divmod(row, stored.spec.draws)
        item = HandDataset(stored.frames, crop_px, stored.spec.augment, stored.spec.seed)[(index, draw)]
        again = stored.compute({name: value[None].to(device) for name, value in item.items()})[0].astype(np.float32)
        values = stored.open(crop_px)["values"][row].astype(np.float32)
        gap = np.abs(values - again) / (TOLERANCE * np.maximum(1, np.abs(again)))
        if not (gap <= 1).all():
            where = f"image {index}, draw {draw} at {crop_px} px"
            raise UserError(f"stored outputs differ from the teacher's ({where}): remove {stored.root}")
        largest = max(largest, float(gap.max()))
    return len(chosen), largest


def checksum(row: NDArray[np.float16]) -> int:
    """CRC-32 of a row, never 0."""
    return zlib.crc32(np.ascontiguousarray(row).tobytes()) or 1


def _row_type(shapes: dict[str, tuple[int, ...]]) -> np.dtype[np.void]:
    width = sum(math.prod(shape) for shape in shapes.values())
    return np.dtype([("check", np.uint32), ("values", np.float16, (width,))])


def _create(folder: Path, facts: str, count: int, kind: np.dtype[np.void]) -> None:
    """Whole under another name, then renamed: another process may be doing the same."""
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    try:
        temporary.mkdir(parents=True)
        need, free = count * kind.itemsize, shutil.disk_usage(temporary).free
        # Writing to a mapped file on a full disk kills the process.
        if need > free:
            sizes = f"{free >> 20} MiB free, the stored outputs need up to {need >> 20} MiB"
            raise UserError(f"{folder.parent} has {sizes}: give another --store")
        np.lib.format.open_memmap(temporary / "rows.npy", "w+", kind, (count,))
        (temporary / "facts.json").write_text(facts, encoding="utf-8")
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.exists():
                raise
    except OSError as error:
        raise write_error(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
