"""Channels that go: which, how many, and what is left computes what it should."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from compress import prune as command
from compress.channels import KEEP, STEP, find_groups, prune_by, score_channels
from compress.check.parity import check_parity
from compress.onnx.flavours import quantize
from compress.onnx.lint import lint
from compress.onnx.to_onnx import write_onnx
from compress.prune import PruneRequest, check, main
from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from tests.conftest import IMAGES
from training.checkpoint import WeightFacts, load_network, save_weights
from training.hands.layer import HandLayer
from training.network import VARIANTS, ERNet, build
from training.network.count import count_gmac
from training.run import trainer
from training.run.runs import random_batch

HANDS = load_hand_models()
LAYER = HandLayer(*HANDS)
BIG = ("er", "er-l", "er-m")


def network(variant: str = "er-nano") -> ERNet:
    torch.manual_seed(0)
    net = build(variant).eval()
    for parameter in net.parameters():
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    return net


def batches(variant: str = "er-nano") -> list[dict[str, Tensor]]:
    torch.manual_seed(1)
    return [random_batch(2, VARIANTS[variant].crop_px, torch.device("cpu"))]


def pruned_by(net: ERNet, ratio: float) -> ERNet:
    return prune_by(net, ratio, score_channels(net, LAYER, batches(net.variant.name)))


@pytest.fixture(scope="module")
def pruned() -> ERNet:
    return pruned_by(network(), 0.3)


def test_as_many_multiply_accumulates_as_asked_for(pruned: ERNet) -> None:
    before, after = (count_gmac(net, 160) for net in (network(), pruned))
    assert 0.67 * before < after <= 0.7 * before


def test_channels_come_in_eights_and_some_are_left(pruned: ERNet) -> None:
    full = network()
    assert len(pruned.widths) > 20
    for path, shape in pruned.widths.items():
        module = full.get_submodule(path)
        before = [getattr(module, name) for name in ("in_channels", "out_channels") if hasattr(module, name)]
        for new, old in zip(shape, before, strict=False):
            assert (old - new) % STEP == 0 and new >= KEEP * old


def test_what_goes_is_what_a_zero_would_be() -> None:
    """Channels whose weights are 0 have no importance, others mostly have."""
    net = network()
    first, last = (net.get_submodule(f"regress.fuseformer.block.mlp.{number}") for number in (0, 2))
    with torch.no_grad():
        first.get_parameter("weight")[::5] = 0
        first.get_parameter("bias")[::5] = 0
        last.get_parameter("weight")[:, ::5] = 0
    _, groups = find_groups(copy.deepcopy(net))
    names = [group.name for group in groups]
    score = score_channels(net, LAYER, batches())[names.index("regress.fuseformer.block.mlp.0")]
    assert not score[::5].any() and (score > 0).sum() > len(score) / 2


def test_the_file_is_the_network_and_can_be_int8(pruned: ERNet, tmp_path: Path) -> None:
    write_onnx(pruned, tmp_path / "float.onnx")
    crops = np.random.default_rng(0).integers(0, 256, (3, 160, 160, 3), np.uint8)
    assert check_parity(pruned, tmp_path / "float.onnx", crops, HANDS).passed
    quantize(tmp_path / "float.onnx", tmp_path / "int8.onnx", crops)
    assert lint(onnx.load(tmp_path / "int8.onnx"), "cpu") == ()


def test_more_than_the_network_can_give() -> None:
    with pytest.raises(UserError, match=r"can lose \d\d%"):
        pruned_by(network(), 0.95)


@pytest.mark.parametrize("variant", [*(pytest.param(v, marks=pytest.mark.slow) for v in BIG), "er-s", "er-xs"])
def test_every_variant(variant: str) -> None:
    net = network(variant)
    assert count_gmac(pruned_by(net, 0.2), net.variant.crop_px) <= 0.8 * count_gmac(net, net.variant.crop_px)


# ---- the command


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    hand = {"name": HANDS[0].name, "sha256": HANDS[0].sha256}
    path = tmp_path / "er-nano.safetensors"
    save_weights(path, network().state_dict(), WeightFacts("er-nano", hand, "made", True, 1, 1, 0))
    return path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "SCORED_IMAGES", IMAGES)
    monkeypatch.setattr(trainer, "VALIDATION_IMAGES", IMAGES)
    monkeypatch.setattr(command, "scored_batches", lambda *_: batches())


@pytest.mark.slow
def test_a_checkpoint_comes_out(weights: Path, quick: None, synthetic_cache: Path, tmp_path: Path) -> None:
    arguments = ["--variant", "er-nano", "--checkpoint", str(weights), "--run-dir", str(tmp_path / "run")]
    assert main([*arguments, "--ratio", "0.3"]) == 0
    loaded, facts = load_network(tmp_path / "run" / "er-nano.safetensors", "er-nano")
    assert facts.widths and count_gmac(loaded, 160) <= 0.7 * count_gmac(network(), 160)
    again = ["--variant", "er-nano", "--checkpoint", str(tmp_path / "run" / "er-nano.safetensors"), "--ratio", "0.3"]
    with pytest.raises(UserError, match="is pruned already"):
        main(again)


@pytest.mark.slow
def test_it_recovers_and_goes_on(weights: Path, quick: None, synthetic_cache: Path, tmp_path: Path) -> None:
    arguments = ["--variant", "er-nano", "--checkpoint", str(weights), "--run-dir", str(tmp_path / "run")]
    arguments += ["--ratio", "0.3", "--finetune-steps", "3", "--batch", "4", "--images", "48"]
    assert main(arguments) == 0
    loaded, facts = load_network(tmp_path / "run" / "er-nano.safetensors", "er-nano")
    assert facts.steps == 3 and facts.teacher is not None and loaded.widths
    assert main(arguments) == 0  # finished: nothing is left to do


@pytest.mark.parametrize(
    "changes", [*({"ratio": r} for r in (0.0, 1.0, -0.3, 30.0, math.nan)), {"finetune_steps": -1}, {"batch": 0}]
)
def test_requests_that_cannot_be(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        check(PruneRequest("er-nano", **changes))
