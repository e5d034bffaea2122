"""Teachers: a network with its weights, an exported ONNX file, or what either of them said before, on disk.

A teacher looks at crops of its own size, whatever the student's: smaller ones are resized, bilinearly. On 200 synthetic
test images cut at 128 px er-xs makes 20.0 mm of them at its own 224 px and 28.0 mm at 112 px; cut at 224 px, 19.7 mm.
"""

from __future__ import annotations

import hashlib
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from runtime.backends.contract import Backend
from runtime.backends.opening import open_backend
from runtime.errors import UserError, unknown_name
from runtime.files import atomic_path, file_sha256, make_folder
from runtime.hand.hand_model import HandPair
from runtime.hand.joints import JOINT_COUNT
from training.checkpoint import check_hand_model, frames_sha256, load_network, read_facts, weights_of
from training.data.mixture import FrameSet
from training.hands import HANDS
from training.losses import DEPTH_RANGE_M, normalise_joints_image
from training.network import VARIANTS, ERNet, Outputs
from training.recipe import DistillSpec, Recipe

Batch = dict[str, Tensor]
Grid = tuple[int, int, int]  # depth bins, height and width of heat maps


class Lesson(NamedTuple):
    """What a teacher says of a batch, whatever its own map; hand axis [right, left]. None: it was not asked for it."""

    rotation6d: Tensor  # (B, 2, 16, 6)
    shape: Tensor  # (B, 2, 10) betas
    joints_image: Tensor  # (B, 2, 21, 3) x, y as fractions of the crop, z of the depth range
    plane: Tensor | None = None  # (B, 2, 21, h, w) probability of each cell at the temperature
    depth: Tensor | None = None  # (B, 2, 21, d) probability of each depth bin at the temperature


def lesson_shapes(grid: Grid, heatmaps: bool) -> dict[str, tuple[int, ...]]:
    """Shapes of a lesson's tensors, without the batch."""
    outputs = {"rotation6d": (HANDS, 16, 6), "shape": (HANDS, 10), "joints_image": (HANDS, JOINT_COUNT, 3)}
    maps = {"plane": (HANDS, JOINT_COUNT, *grid[1:]), "depth": (HANDS, JOINT_COUNT, grid[0])}
    return {**outputs, **(maps if heatmaps else {})}


def lesson_of_outputs(outputs: Outputs, grid: Grid) -> Lesson:
    """What a teacher's outputs teach; `grid` is of its heat map."""
    joints = normalise_joints_image(outputs.joints_image.float(), grid)
    return Lesson(outputs.rotation6d.float(), outputs.shape.float(), joints)


def log_marginals(heatmaps: Tensor, grid: Grid, temperature: float) -> tuple[Tensor, Tensor]:
    """Heat-map logits (B, 42, D*H*W) -> log probabilities of cells (B, 2, 21, H, W) and depth bins (B, 2, 21, D)."""
    logits = heatmaps.float().unflatten(1, (HANDS, JOINT_COUNT)) / temperature
    joint = logits.log_softmax(dim=-1).unflatten(-1, grid)
    return joint.logsumexp(dim=-3), joint.flatten(-2).logsumexp(dim=-1)


@dataclass(frozen=True)
class TeacherFacts:
    """Who teaches."""

    name: str  # for people
    sha256: str  # of the weights' file
    crop_px: int  # it looks at
    grid: Grid  # of its heat maps


class Teacher(Protocol):
    """Answers batches. Its own memory is no part of any module."""

    facts: TeacherFacts

    def teach(self, batch: Batch) -> Lesson:
        """`batch["image"]` (B, 3, S, S), RGB 0..1 -> what the teacher says, on the same device, without gradients."""


class NetworkTeacher:
    """A network of this project, in eval mode, for batches on `device`; it says what `spec` has terms for."""

    def __init__(
        self, network: ERNet, name: str, sha256: str, spec: DistillSpec, device: torch.device, bf16: bool = False
    ) -> None:
        variant = network.variant
        self.spec, self.bf16 = spec, bf16
        self.network = network.eval().requires_grad_(False)
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.facts = TeacherFacts(name, sha256, variant.crop_px, (variant.map_size,) * 3)

    @torch.no_grad()
    def teach(self, batch: Batch) -> Lesson:
        """See Teacher."""
        image = resize_crops(batch["image"], self.facts.crop_px).contiguous(memory_format=torch.channels_last)
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.bf16):
            extracted = self.network.extract(self.network.features(image))
            outputs = self.network.regress(extracted)
        lesson = lesson_of_outputs(outputs, extracted.grid)
        if "heatmap" in self.spec.weights:
            plane, depth = log_marginals(extracted.heatmaps, extracted.grid, self.spec.temperature)
            lesson = lesson._replace(plane=plane.exp(), depth=depth.exp())
        return lesson


class OnnxTeacher:
    """An exported file, one image after the other. It gives the outputs of the graph contract, nothing from inside."""

    def __init__(self, backend: Backend, name: str, sha256: str) -> None:
        info, heatmap = backend.info, backend.info.heatmap
        self.backend = backend
        self.facts = TeacherFacts(name, sha256, info.input_px, (heatmap.depth, heatmap.height, heatmap.width))

    def teach(self, batch: Batch) -> Lesson:
        """See Teacher."""
        images = resize_crops(batch["image"], self.facts.crop_px).float().cpu()
        answers = [self.backend.run(image[None].numpy()) for image in images]
        joined = (torch.from_numpy(np.concatenate([a[name] for a in answers])) for name in Outputs._fields)
        return lesson_of_outputs(Outputs(*(value.to(batch["image"].device) for value in joined)), self.facts.grid)


def open_teacher(spec: DistillSpec, hands: HandPair, device: torch.device, bf16: bool = False) -> Teacher:
    """The teacher that a spec names, for batches on `device`.

    UserError for a name or file that is none, another hand model's, a file outside the graph contract, or terms that
    the teacher cannot serve.
    """
    path = Path(spec.teacher)
    if path.suffix.lower() == ".onnx":
        return _open_onnx(path, spec, hands)
    if path.suffix == ".safetensors":
        variant = read_facts(path).variant
    elif spec.teacher in VARIANTS:
        variant, path = spec.teacher, weights_of(spec.teacher)
    else:
        raise unknown_name("teacher", spec.teacher, [*VARIANTS, "FILE.safetensors", "FILE.onnx"])
    network, facts = load_network(path, variant)
    check_hand_model(path, facts.hand_model["name"], facts.hand_model["sha256"], hands)
    return NetworkTeacher(network, variant, file_sha256(path), spec, device, bf16)


def resize_crops(images: Tensor, side_px: int) -> Tensor:
    """Crops (B, 3, S, S) -> (B, 3, side, side), bilinear, low-pass filtered where they shrink."""
    if images.shape[-1] == side_px:
        return images
    shrinks = side_px < images.shape[-1]
    return functional.interpolate(images, (side_px, side_px), mode="bilinear", align_corners=False, antialias=shrinks)


def _open_onnx(path: Path, spec: DistillSpec, hands: HandPair) -> OnnxTeacher:
    if "heatmap" in spec.weights:
        raise UserError("'heatmap' looks inside its teacher and an ONNX file has only outputs: set heatmap = 0")
    backend = open_backend(path, threads=torch.get_num_threads())
    info = backend.info
    if info.heatmap.depth_range_m != DEPTH_RANGE_M:
        span = f"{info.heatmap.depth_range_m:g} m, not {DEPTH_RANGE_M:g} m"
        raise UserError(f"{path}: its depth bins span {span}: export it again")
    check_hand_model(path, info.hand_model_name, info.hand_model_sha256, hands)
    return OnnxTeacher(backend, path.name, file_sha256(path))


class StoredTeacher:
    """A teacher that is asked only for what is not stored yet. Give it batches with the `key` of HandDataset.

    One file per teacher, data, augmentation and crop size holds a row of float16 and its CRC-32 per image and draw, 0
    while it is not there; one whose checksum is wrong, as after a power cut, is computed again. On a CPU the teacher is
    66 % of er-nano's step, and 80 % of er-xs's.
    """

    def __init__(self, teacher: Teacher, folder: Path, frames: FrameSet, recipe: Recipe, spec: DistillSpec) -> None:
        self.teacher, self.facts, self.folder, self.draws = teacher, teacher.facts, folder, spec.draws
        self.count = len(frames) * spec.draws
        self.shapes = lesson_shapes(self.facts.grid, heatmaps="heatmap" in spec.weights)
        # All that decides the values.
        data, augmented = frames_sha256(frames), (recipe.augment, recipe.seed, spec.draws)
        self.origin = f"3 {self.facts} {data} {augmented} {self.shapes} {spec.temperature} {recipe.bf16 or spec.bf16}"
        self.rows: dict[int, NDArray[np.void]] = {}  # mapped files, by crop size of the student

    def teach(self, batch: Batch) -> Lesson:
        """See Teacher. What is not stored is computed and stored; the answer is always what the store holds."""
        key, device = batch["key"].cpu().numpy(), batch["image"].device
        rows, chosen = self.open(batch["image"].shape[-1]), key[:, 0] * self.draws + key[:, 1]
        found = rows[chosen]
        missing = np.array([row["check"] != _checksum(row) for row in found])
        if missing.any():
            asked = torch.from_numpy(missing).to(device)
            lesson = self.teacher.teach({name: value[asked] for name, value in batch.items()})
            for name in self.shapes:
                found[name][missing] = getattr(lesson, name).half().cpu().numpy()
            found["check"][missing] = [_checksum(row) for row in found[missing]]
            rows[chosen[missing]] = found[missing]
        kept = {name: torch.from_numpy(found[name].astype(np.float32)).to(device) for name in self.shapes}
        if "plane" in kept:  # rounding must not change their sums
            kept["plane"] /= kept["plane"].sum((-1, -2), keepdim=True)
            kept["depth"] /= kept["depth"].sum(-1, keepdim=True)
        return Lesson(**kept)

    def open(self, crop_px: int) -> NDArray[np.void]:
        """All rows of one crop size, mapped; made, sparse, where they are not there.

        UserError where they are damaged or the disk has no room.
        """
        if crop_px not in self.rows:
            path = self.folder / f"{hashlib.sha256(f'{self.origin} {crop_px}'.encode()).hexdigest()[:16]}.npy"
            if not path.exists():
                fields = ((name, np.float16, shape) for name, shape in self.shapes.items())
                kind = np.dtype([("check", np.uint32), *fields])
                make_folder(self.folder)
                need, free = self.count * kind.itemsize, shutil.disk_usage(self.folder).free
                if need > free:  # writing to a mapped file on a full disk kills the process
                    sizes = f"{free >> 20} MiB free, the stored outputs need up to {need >> 20} MiB"
                    raise UserError(f"{self.folder} has {sizes}: give another --store")
                with atomic_path(path) as temporary:
                    np.lib.format.open_memmap(temporary, "w+", kind, (self.count,))
            try:
                self.rows[crop_px] = np.load(path, mmap_mode="r+", allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise UserError(f"the stored outputs in {path} are damaged ({error}): remove that file") from error
        return self.rows[crop_px]


def _checksum(row: np.void) -> int:
    """CRC-32 of a row's values, never 0."""
    return zlib.crc32(row.tobytes()[4:]) or 1
