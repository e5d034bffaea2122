"""A teacher's outputs on disk, computed once per image and augmentation and then read.

One folder per teacher, data, augmentation and crop size: `facts.json`, `values.npy` (one row of float16 per image and
draw) and `checks.npy` (a row's CRC-32, 0 while it is not there). A row whose checksum is wrong, as after a power cut,
is computed again. A run can be interrupted at any moment, and several processes may fill one store.
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
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runtime.errors import UserError
from runtime.files import write_error
from training.data.augment import AugmentSpec
from training.data.dataset import HandDataset
from training.data.frames import Frames
from training.distillation.lesson import Lesson, stored_shapes
from training.distillation.teacher import Batch, Teacher

FORMAT = 1
TOLERANCE = 5e-3  # absolute, and relative to larger values: float16's rounding and that of another batch size
FLOAT16_MAX = 65504.0


@dataclass(frozen=True)
class StoreSpec:
    """What decides a store's values, beside the teacher and the images."""

    draws: int  # augmentations per image
    seed: int
    augment: AugmentSpec
    temperature: float | None  # of stored heat maps; None: not stored
    bf16: bool


class OutputStore:
    """Rows of float16 for one crop size."""

    def __init__(self, root: Path, facts: dict[str, Any], rows: int, width: int) -> None:
        """Open, or create at its full (sparse) size; UserError where it is damaged or the disk has no room."""
        text = json.dumps(facts, indent=1, sort_keys=True)
        self.folder = root / hashlib.sha256(text.encode()).hexdigest()[:16]
        if not self.folder.exists():
            _create(self.folder, text, rows, width)
        try:
            self.values = np.load(self.folder / "values.npy", mmap_mode="r+", allow_pickle=False)
            self.checks = np.load(self.folder / "checks.npy", mmap_mode="r+", allow_pickle=False)
            whole = (self.folder / "facts.json").read_text() == text
        except (OSError, ValueError) as error:
            raise UserError(f"the stored outputs in {self.folder} are damaged ({error}): remove that folder") from error
        found = (self.values.shape, self.values.dtype, self.checks.shape, self.checks.dtype)
        if not whole or found != ((rows, width), np.float16, (rows,), np.uint32):
            raise UserError(f"the stored outputs in {self.folder} are damaged: remove that folder")

    def read(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
        """Values (N, width), and which of them are there (N,)."""
        values = self.values[rows]
        expected = self.checks[rows]
        return values, np.array([c != 0 and c == checksum(v) for v, c in zip(values, expected, strict=True)], bool)

    def write(self, rows: NDArray[np.int64], values: NDArray[np.float16]) -> None:
        """The checksums last: a row without one does not count."""
        self.values[rows] = values
        self.checks[rows] = [checksum(row) for row in values]

    @property
    def filled(self) -> NDArray[np.int64]:
        """Rows that were written, whole or not."""
        return np.flatnonzero(self.checks)


class StoredTeacher:
    """A teacher that is asked only for what is not stored yet. Give it batches with the `key` of HandDataset."""

    def __init__(self, teacher: Teacher, root: Path, frames: Frames, spec: StoreSpec) -> None:
        self.teacher, self.root, self.frames, self.spec = teacher, root, frames, spec
        self.name, self.sha256, self.parameters = teacher.name, teacher.sha256, teacher.parameters
        self.crop_px, self.map_size, self.depth_bins = teacher.crop_px, teacher.map_size, teacher.depth_bins
        self.dim: int | None = None  # feature maps are not stored
        self.shapes = _shapes(teacher, spec)
        self.width = _width(self.shapes)
        self.rows = len(frames) * spec.draws
        self.stores: dict[int, OutputStore] = {}

    def teach(self, batch: Batch) -> Lesson:
        """See Teacher. What is not stored is computed and stored; the answer is always what the store holds."""
        key = batch["key"].cpu().numpy()
        if (key >= (len(self.frames), self.spec.draws)).any():
            raise ValueError("a batch of other images or draws than the store's")
        rows = key[:, 0] * self.spec.draws + key[:, 1]
        store = self.store(batch["image"].shape[-1])
        values, there = store.read(rows)
        if not there.all():
            missing = torch.from_numpy(~there).to(batch["image"].device)
            values[~there] = self.compute({name: value[missing] for name, value in batch.items()})
            store.write(rows[~there], values[~there])
        return self._unpack(values, batch["image"].device)

    def compute(self, batch: Batch) -> NDArray[np.float16]:
        """Rows (B, width) by the teacher."""
        lesson = self.teacher.teach(batch)._asdict()
        row = torch.cat([lesson[name].flatten(1).float() for name in self.shapes], dim=1)
        return row.clamp(-FLOAT16_MAX, FLOAT16_MAX).half().cpu().numpy()

    def store(self, crop_px: int) -> OutputStore:
        """Of one crop size of the student."""
        if crop_px not in self.stores:
            self.stores[crop_px] = OutputStore(self.root, self._facts(crop_px), self.rows, self.width)
        return self.stores[crop_px]

    def _facts(self, crop_px: int) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "teacher": {"name": self.name, "sha256": self.sha256, "crop_px": self.crop_px},
            "data": {"name": self.frames.name, "images": len(self.frames), "sha256": frames_sha256(self.frames)},
            "crop_px": crop_px,
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            **asdict(self.spec),
        }

    def _unpack(self, values: NDArray[np.float16], device: torch.device) -> Lesson:
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        parts = torch.from_numpy(values).to(device).float().split(sizes, dim=1)
        fields: dict[str, Tensor] = {
            name: part.unflatten(1, shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }
        lesson = Lesson(**fields)
        if lesson.plane is not None and lesson.depth is not None:  # rounding must not change their sums
            plane, depth = lesson.plane, lesson.depth
            lesson = lesson._replace(
                plane=plane / plane.sum(dim=(-1, -2), keepdim=True), depth=depth / depth.sum(dim=-1, keepdim=True)
            )
        return lesson


@dataclass(frozen=True)
class StoreCheck:
    """Of a recomputation of stored rows."""

    checked: int
    different: tuple[str, ...]  # crop size, image and draw of the rows outside the tolerance
    largest: float  # difference, as a multiple of the tolerance


def check_stored(stored: StoredTeacher, crops_px: Iterable[int], count: int) -> StoreCheck:
    """Recompute `count` stored rows, drawn anew each time, and compare. UserError where nothing is stored."""
    filled = {crop_px: stored.store(crop_px).filled for crop_px in crops_px}
    kept = np.concatenate([np.stack([np.full_like(rows, crop), rows], axis=1) for crop, rows in filled.items()])
    if not len(kept):
        raise UserError(f"nothing is stored in {stored.root} for this teacher, data and recipe: train with it first")
    chosen = np.random.default_rng().choice(kept, min(count, len(kept)), replace=False)
    different, largest = [], 0.0
    for crop_px, row in chosen.tolist():
        index, draw = divmod(row, stored.spec.draws)
        item = HandDataset(stored.frames, crop_px, stored.spec.augment, stored.spec.seed)[(index, draw)]
        again = stored.compute({name: value[None] for name, value in item.items()})[0].astype(np.float32)
        values, _ = stored.store(crop_px).read(np.array([row]))
        gap = np.abs(values[0].astype(np.float32) - again) / (TOLERANCE * np.maximum(1, np.abs(again)))
        worst = float(gap.max()) if np.isfinite(gap).all() else math.inf
        if worst > 1:
            different.append(f"image {index} draw {draw} at {crop_px} px")
        largest = max(largest, worst)
    return StoreCheck(len(chosen), tuple(different), largest)


def stored_bytes(teacher: Teacher, spec: StoreSpec, images: int, crops_px: Iterable[int]) -> int:
    """Of the stores of these crop sizes when every image has been seen in every draw."""
    return len(set(crops_px)) * _bytes(images * spec.draws, _width(_shapes(teacher, spec)))


def checksum(row: NDArray[np.float16]) -> int:
    """CRC-32 of a row, never 0."""
    return zlib.crc32(np.ascontiguousarray(row).tobytes()) or 1


def frames_sha256(frames: Frames) -> str:
    """Of what decides the crops: which image is which, and its box."""
    digest = hashlib.sha256()
    for array in (frames.file_names.encoded, frames.bbox):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _shapes(teacher: Teacher, spec: StoreSpec) -> dict[str, tuple[int, ...]]:
    return stored_shapes(teacher.map_size, teacher.depth_bins, spec.temperature is not None)


def _width(shapes: dict[str, tuple[int, ...]]) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


def _bytes(rows: int, width: int) -> int:
    """Values and checksums."""
    return rows * (2 * width + 4)


def _create(folder: Path, facts: str, rows: int, width: int) -> None:
    """Whole under another name, then renamed: another process may be doing the same."""
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    try:
        temporary.mkdir(parents=True)
        need, free = _bytes(rows, width), shutil.disk_usage(temporary).free
        # Writing to a mapped file on a full disk kills the process.
        if need > free:
            sizes = f"{free >> 20} MiB free, the stored outputs need up to {need >> 20} MiB"
            raise UserError(f"{folder.parent} has {sizes}: give another --store")
        np.lib.format.open_memmap(temporary / "values.npy", "w+", np.float16, (rows, width))
        np.lib.format.open_memmap(temporary / "checks.npy", "w+", np.uint32, (rows,))
        (temporary / "facts.json").write_text(facts)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.exists():
                raise
    except OSError as error:
        raise write_error(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
