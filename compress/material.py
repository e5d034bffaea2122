"""What the files of an export are made from and measured on: a network, pruned first where asked for, and images."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from compress.artefact import Artefact
from compress.channels import IMPORTANCES
from compress.check.scoring import LabelledCrops, load_labelled_crops
from compress.crops import Crops, load_crops, load_own_crops
from compress.onnx.to_onnx import OPSET
from compress.passport import git_commit, tool_versions
from compress.prune import Pruned, PruneRequest, recover, shrink
from compress.request import ExportRequest
from runtime.backends.contract import HAND_AXIS, INPUT_NAME, OUTPUT_UNITS, input_shape
from runtime.errors import UserError
from runtime.files import file_sha256
from runtime.hand.hand_model import HandModel
from targets import Target
from training.checkpoint import load_network, weights_of
from training.data.dataset import SYNTHETIC, open_frames
from training.data.frames import Frames
from training.losses import DEPTH_RANGE_M
from training.network import build
from training.network.count import count_gmac, count_parameters_m
from training.quantisation.qat import float_network, int8_spec_of

if TYPE_CHECKING:
    from training.network import ERNet

MIN_CALIBRATION_CROPS = 32
FEW_CALIBRATION_CROPS = 256


@dataclass(frozen=True, eq=False)
class Weights:
    """What an export starts from."""

    network: ERNet  # in float
    trained: ERNet | None  # the one that rounds, for an int8 export of weights that were trained to be int8
    facts: dict[str, Any]  # for the passport
    pruned: Pruned | None = None  # not recovered yet
    pruning: dict[str, Any] | None = None  # what it saved


@dataclass(frozen=True, eq=False)
class Material:
    """All that the steps of an export work with; none of them changes it."""

    request: ExportRequest
    target: Target | None
    hands: tuple[HandModel, HandModel]
    network: ERNet
    trained: ERNet | None
    train: Frames
    test: LabelledCrops
    facts: dict[str, Any]  # what all passports say

    @property
    def crop_px(self) -> int:
        """Side of the network's input."""
        return self.network.variant.crop_px

    @cached_property
    def calibration(self) -> tuple[str, Crops]:
        """The crops that ranges are measured on, and their name."""
        return calibration_crops(self.request, self.train, self.hands, self.crop_px)


def load_weights(
    request: ExportRequest, target: Target | None, artefacts: tuple[Artefact, ...], hands: tuple[HandModel, HandModel]
) -> Weights:
    """The network to export, with fewer channels where asked for: its size is known before hours of recovery."""
    if request.prunes:
        pruned = shrink(pruning_request(request))
        return Weights(pruned.network, None, {}, pruned)
    if request.random_weights:
        import torch  # takes seconds

        torch.manual_seed(0)
        return Weights(build(request.variant).eval(), None, {"random": True, "sha256": None})
    path = request.checkpoint or weights_of(request.variant)
    network, facts = load_network(path, request.variant)
    if facts.hand_model["sha256"] != hands[0].sha256:
        raise UserError(
            f"the weights were trained on hand model '{facts.hand_model['name']}', not on '{hands[0].name}': "
            "give the matching --hand-model or other weights"
        )
    known = {"random": False, "sha256": file_sha256(path), **asdict(facts)}
    if int8_spec_of(network) is None:
        return Weights(network, None, known)
    trained = network if request.precision == "int8" else None
    if trained is not None:
        _check_trained(request, target, artefacts, trained)
    return Weights(float_network(network, rounded=False), trained, known)


def recover_weights(request: ExportRequest, weights: Weights) -> Weights:
    """The same, after the fine-tuning that a pruned network was promised."""
    if weights.pruned is None:
        return weights
    path, figures = recover(weights.pruned)
    network, facts = load_network(path, request.variant)
    return Weights(network, None, {"random": False, "sha256": file_sha256(path), **asdict(facts)}, pruning=figures)


def pruning_request(request: ExportRequest) -> PruneRequest:
    """What is asked of compress.prune."""
    return PruneRequest(
        request.variant,
        request.checkpoint,
        request.prune,
        request.prune_to_ms,
        importance=request.importance or IMPORTANCES[0],
        finetune_steps=request.finetune_steps or 0,
        data=request.data,
        hand_model=request.hand_model,
    )


def _check_trained(
    request: ExportRequest, target: Target | None, artefacts: tuple[Artefact, ...], trained: ERNet
) -> None:
    """A UserError for what weights that were trained to be int8 cannot become."""
    spec = int8_spec_of(trained)
    assert spec is not None
    for flag in request.int8_only:
        raise UserError(
            f"{flag} has no effect: {request.checkpoint} was trained to be int8, its layers and ranges are set"
        )
    if any(artefact.flavour not in (None, "cpu") for artefact in artefacts):
        raise UserError(f"{request.checkpoint} was trained to be int8 on CPUs: give another --target, or float weights")
    if not spec.reduce_range and int8_saturates(target):
        where = (
            target.name if target else "some CPU that the file may run on: give a --target whose int8 does not saturate"
        )
        raise UserError(f"{request.checkpoint} was trained for 8-bit weights, which overflow on {where}")


def int8_saturates(target: Target | None) -> bool:
    """Whether weights must keep to 7 bits."""
    return target is None or target.int8_saturates


def gather(
    request: ExportRequest,
    target: Target | None,
    artefacts: tuple[Artefact, ...],
    hands: tuple[HandModel, HandModel],
    weights: Weights,
) -> Material:
    """Open the data; the test images are decoded and cut here, once for all files."""
    measured = request.calib_data is None and weights.trained is None and any(a.calibrated for a in artefacts)
    count = max(request.calibration_crops if measured else 0, request.test_images)
    train = open_frames(request.data, "train", hands, count)
    test = open_frames(request.data, "test", hands, request.test_images)
    facts = common_facts(request.variant, weights.network, weights.facts, hands, test)
    facts |= {"pruning": weights.pruning, "target": request.target}
    labelled = load_labelled_crops(test, weights.network.variant.crop_px, hands)
    return Material(request, target, hands, weights.network, weights.trained, train, labelled, facts)


def common_facts(
    variant: str, network: ERNet, weights: dict[str, Any], hands: tuple[HandModel, HandModel], frames: Frames
) -> dict[str, Any]:
    """What the passports of all files of a network say; `frames`: what they are measured on."""
    size, crop_px = network.variant.map_size, network.variant.crop_px
    return {
        "variant": variant,
        "precision": "fp32",
        "input_px": crop_px,
        "parameters_m": round(count_parameters_m(network), 4),
        "gmac": round(count_gmac(network, crop_px), 4),
        "opset": OPSET,
        "heatmap": {"depth": size, "height": size, "width": size, "depth_range_m": DEPTH_RANGE_M},
        "hand_model": {"name": hands[0].name, "sha256": hands[0].sha256},
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


def calibration_crops(
    request: ExportRequest, train: Frames, hands: tuple[HandModel, HandModel], crop_px: int
) -> tuple[str, Crops]:
    """What ranges are measured on, after its name; a warning for few, a UserError for too few."""
    given, count = request.calib_data, request.calibration_crops
    if given is not None and given != SYNTHETIC and not (Path(given) / "annotations").is_dir():
        crops, name = load_own_crops(Path(given), count, crop_px), Path(given).name
    else:
        if given is not None:
            train = open_frames(given, "train", hands, count)
        crops, name = load_crops(train, min(count, len(train)), crop_px, "calibration crops"), train.label
    if len(crops) < MIN_CALIBRATION_CROPS:
        raise UserError(f"{given or name} has {len(crops)} calibration images: at least {MIN_CALIBRATION_CROPS}")
    if len(crops) < FEW_CALIBRATION_CROPS:
        tqdm.write(f"warning: only {len(crops)} calibration images, {FEW_CALIBRATION_CROPS} or more are safer")
    return name, crops
