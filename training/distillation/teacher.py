"""Teachers: networks with their weights.

A teacher looks at crops of its own size, whatever the student's: smaller ones are resized, bilinearly. On 200 synthetic
test images cut at 128 px er-xs makes 20.0 mm of them at its own 224 px and 28.0 mm at 112 px; cut at 224 px, 19.7 mm.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from runtime.errors import unknown_name
from runtime.files import file_sha256
from runtime.hand.hand_model import HandPair
from runtime.hand.joints import JOINT_COUNT
from training.checkpoint import check_hand_model, load_network, read_facts, weights_of
from training.hands import HANDS
from training.losses import normalise_joints_image
from training.network import VARIANTS, ERNet
from training.recipe import DistillSpec

Grid = tuple[int, int, int]  # depth bins, height and width of heat maps


class Lesson(NamedTuple):
    """What a teacher says of a batch, whatever its own map; hand axis [right, left]. None: it was not asked for it."""

    rotation6d: Tensor  # (B, 2, 16, 6)
    shape: Tensor  # (B, 2, 10) betas
    joints_image: Tensor  # (B, 2, 21, 3) x, y as fractions of the crop, z of the depth range
    plane: Tensor | None = None  # (B, 2, 21, h, w) probability of each cell at the temperature
    depth: Tensor | None = None  # (B, 2, 21, d) probability of each depth bin at the temperature


def log_marginals(heatmaps: Tensor, grid: Grid, temperature: float) -> tuple[Tensor, Tensor]:
    """Heat-map logits (B, 42, D*H*W) -> log probabilities of cells (B, 2, 21, H, W) and depth bins (B, 2, 21, D)."""
    logits = heatmaps.float().unflatten(1, (HANDS, JOINT_COUNT)) / temperature
    joint = logits.log_softmax(dim=-1).unflatten(-1, grid)
    return joint.logsumexp(dim=-3), joint.flatten(-2).logsumexp(dim=-1)


class NetworkTeacher:
    """A network of this project, in eval mode, for batches on `device`; it says what `spec` has terms for.

    Its own memory is no part of any module.
    """

    def __init__(
        self, network: ERNet, name: str, sha256: str, spec: DistillSpec, device: torch.device, bf16: bool = False
    ) -> None:
        self.name, self.sha256, self.crop_px = name, sha256, network.variant.crop_px
        self.spec, self.bf16 = spec, bf16
        self.network = network.eval().requires_grad_(False)
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def teach(self, images: Tensor) -> Lesson:
        """Images (B, 3, S, S), RGB 0..1 -> what the teacher says, on the same device, without gradients."""
        image = resize_crops(images, self.crop_px).contiguous(memory_format=torch.channels_last)
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.bf16):
            extracted = self.network.extract(self.network.features(image))
            outputs = self.network.regress(extracted)
        joints = normalise_joints_image(outputs.joints_image.float(), extracted.grid)
        lesson = Lesson(outputs.rotation6d.float(), outputs.shape.float(), joints)
        if "heatmap" in self.spec.weights:
            plane, depth = log_marginals(extracted.heatmaps, extracted.grid, self.spec.temperature)
            lesson = lesson._replace(plane=plane.exp(), depth=depth.exp())
        return lesson


def open_teacher(spec: DistillSpec, hands: HandPair, device: torch.device, bf16: bool = False) -> NetworkTeacher:
    """The teacher that a spec names; a UserError for a name or file that is none, or another hand model's."""
    path = Path(spec.teacher)
    if path.suffix == ".safetensors":
        variant = read_facts(path).variant
    elif spec.teacher in VARIANTS:
        variant, path = spec.teacher, weights_of(spec.teacher)
    else:
        raise unknown_name("teacher", spec.teacher, [*VARIANTS, "FILE.safetensors"])
    network, facts = load_network(path, variant)
    check_hand_model(path, facts.hand_model["name"], facts.hand_model["sha256"], hands)
    return NetworkTeacher(network, variant, file_sha256(path), spec, device, bf16)


def resize_crops(images: Tensor, side_px: int) -> Tensor:
    """Crops (B, 3, S, S) -> (B, 3, side, side), bilinear, low-pass filtered where they shrink."""
    if images.shape[-1] == side_px:
        return images
    shrinks = side_px < images.shape[-1]
    return functional.interpolate(images, (side_px, side_px), mode="bilinear", align_corners=False, antialias=shrinks)
