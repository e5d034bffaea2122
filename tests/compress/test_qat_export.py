"""The int8 file of weights that were trained to be int8: the same rounding in the same places, and what is refused."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compress.check.parity import VERTEX_TOLERANCE_MM, check_trained_parity
from compress.export import export, main
from compress.onnx.onnx_format import write_trained_file
from compress.request import ExportRequest
from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from training.checkpoint import WeightFacts, load_network, save_weights, weights_of
from training.network import ERNet, build
from training.quantisation.int8_rules import KEEP_FLOAT, QuantizeSpec
from training.quantisation.qat import calibrate, prepare
from training.recipe import QatSpec

CROPS = np.random.default_rng(0).integers(0, 256, (6, 160, 160, 3), np.uint8)
HANDS = load_hand_models()


def trained_network(spec: QuantizeSpec) -> ERNet:
    """A few steps away from random weights, all of which matter: ranges and weights no longer fit exactly."""
    torch.manual_seed(0)
    network = build("er-nano").train()
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
        elif isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    images = torch.from_numpy(CROPS).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        network(images)
    prepare(network.eval(), spec)
    calibrate(network, images.split(2))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(4):
        optimizer.zero_grad()
        sum((output - 0.1).square().mean() for output in network.train()(images)).backward()
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="module")
def trained() -> ERNet:
    return trained_network(QuantizeSpec())


@pytest.fixture(scope="module")
def int8(trained: ERNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "int8.onnx"
    facts = write_trained_file(trained, path)
    assert facts["keep_float"] == KEEP_FLOAT and facts["reduce_range"] is True
    assert len(facts["kept_float"]) == 7
    assert [p.name for p in path.parent.iterdir()] == ["int8.onnx"]
    return path


def test_the_file_is_the_network(trained: ERNet, int8: Path) -> None:
    parity = check_trained_parity(trained, int8, CROPS, HANDS)
    assert parity.vertex_mm <= VERTEX_TOLERANCE_MM and parity.passed, parity


@pytest.mark.parametrize("damage", ["range", "weight"])
def test_parity_sees_a_difference(damage: str, int8: Path, tmp_path: Path) -> None:
    """One range halved, one weight two steps off: each is another network."""
    other = trained_network(QuantizeSpec())
    with torch.no_grad():
        if damage == "range":
            other.get_submodule("backbone.layers.3.1.output_quantizer").scale.mul_(0.5)
        else:
            weight = other.get_parameter("regress.pose.0.reduce.parametrizations.weight.original")
            weight[0, 0] += 2 * weight[0].abs().max() / 64 * (-1 if weight[0, 0] > 0 else 1)
    assert not check_trained_parity(other, int8, CROPS[:2], HANDS).passed


# ---- the command


def save(network: ERNet, path: Path, reduce_range: bool = True) -> Path:
    hand = {"name": HANDS[0].name, "sha256": HANDS[0].sha256}
    facts = WeightFacts("er-nano", hand, "made", True, 1, 1, 0, qat=asdict(QatSpec(reduce_range=reduce_range)))
    save_weights(path, network.state_dict(), facts)
    return path


@pytest.fixture(scope="module")
def checkpoint(trained: ERNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(trained, tmp_path_factory.mktemp("checkpoint") / "er-nano.safetensors")


def test_calibration_has_no_effect(checkpoint: Path, tmp_path: Path) -> None:
    arguments = ["--variant", "er-nano", "--checkpoint", str(checkpoint), "--output-dir", str(tmp_path / "out")]
    with pytest.raises(UserError, match=r"--keep-float has no effect: .* was trained to be int8"):
        main([*arguments, "--int8", "--keep-float", "fuse"])
    assert not (tmp_path / "out").exists()


def test_8_bit_weights_only_where_they_do_not_overflow(synthetic_cache: Path, tmp_path: Path) -> None:
    path = save(trained_network(QuantizeSpec(reduce_range=False)), tmp_path / "full.safetensors", reduce_range=False)
    arguments = ["--variant", "er-nano", "--int8", "--checkpoint", str(path), "--output-dir", str(tmp_path / "out")]
    for target in ([], ["--target", "x86-64-avx2"]):
        with pytest.raises(UserError, match="8-bit weights, which overflow on"):
            main([*arguments, *target])


@pytest.mark.slow
def test_export(small_request: ExportRequest, tmp_path: Path) -> None:
    """Of the shipped weights with ranges of their own: what untrained ones make of a picture hangs on the last bit."""
    network, _ = load_network(weights_of("er-nano"), "er-nano")
    prepare(network, QuantizeSpec())
    calibrate(network, (torch.from_numpy(CROPS).permute(0, 3, 1, 2).float() / 255).split(2))
    checkpoint = save(network.eval(), tmp_path / "er-nano.safetensors")
    request = replace(
        small_request, random_weights=False, checkpoint=checkpoint, calib_samples=512, output_dir=tmp_path / "out"
    )
    entry = export(replace(request, max_drop_mm=100.0))
    assert entry["verdict"]["status"] == "passed", entry["verdict"]
    passport = json.loads((tmp_path / "out" / "er-nano_160_int8.json").read_text())
    assert passport["parity"]["trained"]["vertex_mm"] <= VERTEX_TOLERANCE_MM
    assert passport["calibration"] is None and passport["weights"]["qat"]["steps"] == 1000
