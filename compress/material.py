"""What the files of an export are made from and measured on: a network, pruned first where asked for, and images."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from compress.artefact import Artefact
from compress.check.scoring import LabelledCrops, load_labelled_crops
from compress.crops import Crops, calibration_crops, digest
from compress.onnx.to_onnx import OPSET
from compress.passport import git_commit, tool_versions
from compress.prune import Pruned, PruneRequest, recover, shrink
from compress.request import ExportRequest
from runtime.backends.contract import HAND_AXIS, INPUT_NAME, OUTPUT_UNITS, ModelInfo, input_shape, parse_passport
from runtime.errors import UserError
from runtime.files import file_sha256
from runtime.hand.hand_model import HandModel, HandPair
from targets import Target
from training.checkpoint import check_hand_model, load_network, weights_of
from training.data.dataset import open_frames
from training.data.frames import Frames
from training.losses import DEPTH_RANGE_M
from training.network import ERNet, build
from training.network.count import count_gmac, count_parameters_m


@dataclass(frozen=True, eq=False)
class Weights:
    """What an export starts from."""

    network: ERNet  # in float
    facts: dict[str, Any]  # for the passport
    pruned: Pruned | None = None  # not recovered yet
    pruning: dict[str, Any] | None = None  # what it saved


@dataclass(frozen=True, eq=False)
class Material:
    """All that the steps of an export work with; none of them changes it."""

    request: ExportRequest
    target: Target | None
    hands: HandPair
    network: ERNet
    train: Frames
    test: LabelledCrops
    facts: dict[str, Any]  # what all passports say

    @property
    def reduce_range(self) -> bool:
        """Whether int8 weights are kept smaller: 8 bits may overflow on the target, or on some CPU if none is named."""
        return self.target is None or self.target.int8_saturates

    def info(self, artefact: Artefact) -> ModelInfo:
        """What the runner must know of a file of this export."""
        return parse_passport(json.dumps(self.facts | {"precision": artefact.precision}), str(artefact.path))

    @cached_property
    def calibration(self) -> tuple[str, Crops]:
        """The crops that ranges are measured on, after their name."""
        request, crop_px = self.request, self.network.variant.crop_px
        return calibration_crops(request.calib_data, request.calib_samples, self.train, crop_px)

    @property
    def calibration_facts(self) -> dict[str, Any]:
        """What passports say of it."""
        (name, crops), method = self.calibration, self.request.calib_method
        return {"data": name, "n_images": len(crops), "sha256": digest(crops), "method": method}


def pruning_request(request: ExportRequest) -> PruneRequest:
    """What is asked of compress.prune."""
    names = ("variant", "checkpoint", "finetune_steps", "data", "hand_model")
    return PruneRequest(**{name: getattr(request, name) for name in names}, ratio=request.prune or 0.0)


def load_weights(request: ExportRequest, hands: HandPair) -> Weights:
    """The network to export, with fewer channels where asked for: its size is known before hours of recovery."""
    if request.prune is not None:
        pruned = shrink(pruning_request(request))
        return Weights(pruned.network, {}, pruned=pruned)
    if request.random_weights:
        torch.manual_seed(0)
        return Weights(build(request.variant).eval(), {"random": True, "sha256": None})
    path = request.checkpoint or weights_of(request.variant)
    network, facts = _read_weights(path, request.variant)
    check_hand_model(path, **facts["hand_model"], hands=hands)
    return Weights(network, facts)


def recover_weights(request: ExportRequest, weights: Weights) -> Weights:
    """The same, after the fine-tuning that a pruned network was promised."""
    if weights.pruned is None:
        return weights
    path, figures = recover(weights.pruned)
    return Weights(*_read_weights(path, request.variant), pruning=figures)


def _read_weights(path: Path, variant: str) -> tuple[ERNet, dict[str, Any]]:
    network, facts = load_network(path, variant)
    return network, {"random": False, "sha256": file_sha256(path), **asdict(facts)}


def gather(
    request: ExportRequest,
    target: Target | None,
    artefacts: tuple[Artefact, ...],
    hands: HandPair,
    weights: Weights,
) -> Material:
    """Open the data; the test images are decoded and cut here, once for all files."""
    measured = request.calib_data is None and any(a.calibrated for a in artefacts)
    count = max(request.calib_samples if measured else 0, request.test_images)
    train = open_frames(request.data, "train", hands, count)
    test = open_frames(request.data, "test", hands, request.test_images)
    facts = network_facts(weights.network, weights.facts, hands[0], test)
    facts |= {"pruning": weights.pruning, "target": request.target}
    labelled = load_labelled_crops(test, weights.network.variant.crop_px, hands)
    return Material(request, target, hands, weights.network, train, labelled, facts)


def network_facts(network: ERNet, weights: dict[str, Any], hand: HandModel, frames: Frames) -> dict[str, Any]:
    """What the passports of all files of a network say; `frames`: what they are measured on."""
    if not frames.has_3d:
        raise UserError(f"{frames.name} has no 3D labels, which a file's accuracy is measured on: give another --data")
    size, crop_px = network.variant.map_size, network.variant.crop_px
    return {
        "variant": network.variant.name,
        "precision": "fp32",
        "input_px": crop_px,
        "parameters_m": round(count_parameters_m(network), 4),
        "gmac": round(count_gmac(network, crop_px), 4),
        "opset": OPSET,
        "heatmap": {"depth": size, "height": size, "width": size, "depth_range_m": DEPTH_RANGE_M},
        "hand_model": {"name": hand.name, "sha256": hand.sha256},
        "dataset": frames.label,
        "synthetic": frames.synthetic,
        "weights": weights,
        "contract": {
            "input": {INPUT_NAME: {"shape": list(input_shape(crop_px)), "unit": "RGB, 0..1"}},
            "outputs": OUTPUT_UNITS,
            "hand_axis": list(HAND_AXIS),
        },
        "tools": tool_versions(),
        "command": shlex.join(["python", *sys.argv]),
        "git_commit": git_commit(),
        "created_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
