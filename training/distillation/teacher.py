"""Teachers: a network with its weights, or an exported ONNX file.

A teacher looks at crops of its own size, whatever the student's: smaller ones are resized, bilinearly. On 200 synthetic
test images cut at 128 px er-xs makes 20.0 mm of them at its own 224 px and 28.0 mm at 112 px; cut at 224 px, 19.7 mm.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from runtime.backends.contract import Backend
from runtime.backends.opening import open_backend
from runtime.errors import UserError, unknown_name
from runtime.hand.hand_model import HandModel
from training.checkpoint import load_network, read_facts, shipped_weights
from training.distillation.lesson import Lesson, lesson_of_outputs, log_marginals
from training.distillation.spec import INNER_TERMS, DistillSpec
from training.losses import DEPTH_RANGE_M
from training.network import VARIANTS, ERNet, Outputs, build, get_variant

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Wanted:
    """What a teacher is asked for beside its outputs, and how it computes."""

    heatmaps: bool = False
    maps: bool = False
    temperature: float = 1.0
    bf16: bool = False


class Teacher(Protocol):
    """Answers batches. Its own memory is no part of any module."""

    name: str  # for people
    sha256: str  # of the weights' file
    parameters: int
    crop_px: int  # it looks at
    map_size: tuple[int, int]  # of its heat maps, cells
    depth_bins: int
    dim: int | None  # channels of its feature maps; None: it gives outputs only

    def teach(self, batch: Batch) -> Lesson:
        """`batch["image"]` (B, 3, S, S), RGB 0..1 -> what the teacher says, on the same device, without gradients."""


class NetworkTeacher:
    """A network of this project, in eval mode."""

    def __init__(self, network: ERNet, name: str, sha256: str, wanted: Wanted | None = None) -> None:
        variant = network.variant
        self.name, self.sha256, self.wanted = name, sha256, wanted or Wanted()
        self.network = network.eval().requires_grad_(False)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.parameters = count(network)
        self.crop_px, self.depth_bins = variant.crop_px, variant.map_size
        self.dim: int | None = variant.dim
        self.map_size = (variant.map_size, variant.map_size)

    @torch.no_grad()
    def teach(self, batch: Batch) -> Lesson:
        """See Teacher."""
        image = resize_crops(batch["image"], self.crop_px).contiguous(memory_format=torch.channels_last)
        self.network.to(image.device)
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.wanted.bf16):
            outputs, taps = self.network.forward_with_taps(image)
        lesson = lesson_of_outputs(outputs, self.map_size, self.depth_bins)
        if self.wanted.heatmaps:
            plane, depth = log_marginals(taps.heatmaps, self.wanted.temperature)
            lesson = lesson._replace(plane=plane.exp(), depth=depth.exp())
        if self.wanted.maps:
            lesson = lesson._replace(maps=taps.maps.float().unflatten(2, self.map_size))
        return lesson


class OnnxTeacher:
    """An exported file, one image after the other. It gives the outputs of the graph contract, nothing from inside."""

    dim: int | None = None

    def __init__(self, backend: Backend, name: str, sha256: str) -> None:
        info = backend.info
        self.name, self.sha256, self.backend = name, sha256, backend
        with torch.device("meta"):
            self.parameters = count(build(info.variant))
        self.crop_px, self.depth_bins = info.input_px, info.heatmap.depth
        self.map_size = (info.heatmap.height, info.heatmap.width)

    def teach(self, batch: Batch) -> Lesson:
        """See Teacher."""
        images = resize_crops(batch["image"], self.crop_px).float().cpu()
        answers = [self.backend.run(image[None].numpy()) for image in images]
        joined = (torch.from_numpy(np.concatenate([a[name] for a in answers])) for name in Outputs._fields)
        outputs = Outputs(*(value.to(batch["image"].device) for value in joined))
        return lesson_of_outputs(outputs, self.map_size, self.depth_bins)


def open_teacher(spec: DistillSpec, hands: tuple[HandModel, HandModel], bf16: bool = False) -> Teacher:
    """The teacher that a spec names.

    UserError for a name or file that is none, another hand model's, a file outside the graph contract, or terms that
    the teacher cannot serve.
    """
    path = Path(spec.teacher)
    if path.suffix.lower() == ".onnx":
        return _open_onnx(path, spec, hands)
    if path.suffix == ".safetensors":
        variant = read_facts(path).variant
        get_variant(variant)
    elif spec.teacher in VARIANTS:
        shipped = shipped_weights(spec.teacher)
        if shipped is None:
            raise UserError(f"no weights come with '{spec.teacher}': train it (training/train.py), give --teacher FILE")
        variant, path = spec.teacher, shipped
    else:
        raise unknown_name("teacher", spec.teacher, [*VARIANTS, "FILE.safetensors", "FILE.onnx"])
    network, facts = load_network(path, variant)
    _check_hand_model(path, facts.hand_model["name"], facts.hand_model["sha256"], hands)
    on = spec.weights
    wanted = Wanted("heatmap" in on, bool({"features", "relational"} & set(on)), spec.temperature, bf16)
    return NetworkTeacher(network, variant, file_sha256(path), wanted)


def check_size(teacher: Teacher, student: ERNet) -> None:
    """A UserError unless the teacher is at least the student's size."""
    if teacher.parameters < count(student):
        raise UserError(
            f"the teacher {teacher.name} has {teacher.parameters / 1e6:.2f} M parameters, fewer than the student "
            f"{student.variant.name} with {count(student) / 1e6:.2f} M: give a larger --teacher"
        )


def resize_crops(images: Tensor, side_px: int) -> Tensor:
    """Crops (B, 3, S, S) -> (B, 3, side, side), bilinear, low-pass filtered where they shrink."""
    if images.shape[-1] == side_px:
        return images
    shrinks = side_px < images.shape[-1]
    return functional.interpolate(images, (side_px, side_px), mode="bilinear", align_corners=False, antialias=shrinks)


def count(network: ERNet) -> int:
    """Parameters."""
    return sum(p.numel() for p in network.parameters())


def file_sha256(path: Path) -> str:
    """Of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _open_onnx(path: Path, spec: DistillSpec, hands: tuple[HandModel, HandModel]) -> OnnxTeacher:
    for term in INNER_TERMS:
        if term in spec.weights:
            raise UserError(f"'{term}' looks inside its teacher and an ONNX file has only outputs: set {term} = 0")
    backend = open_backend(path, threads=torch.get_num_threads())
    info = backend.info
    if info.heatmap.depth_range_m != DEPTH_RANGE_M:
        span = f"{info.heatmap.depth_range_m:g} m, not {DEPTH_RANGE_M:g} m"
        raise UserError(f"{path}: its depth bins span {span}: export it again")
    _check_hand_model(path, info.hand_model_name, info.hand_model_sha256, hands)
    get_variant(info.variant)
    return OnnxTeacher(backend, path.name, file_sha256(path))


def _check_hand_model(path: Path, name: str, sha256: str, hands: tuple[HandModel, HandModel]) -> None:
    if sha256 != hands[0].sha256:
        raise UserError(
            f"the teacher {path} was trained on hand model '{name}' ({sha256[:8]}), not on '{hands[0].name}' "
            f"({hands[0].sha256[:8]}): give the matching --hand-model"
        )
