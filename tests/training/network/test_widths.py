"""Networks narrower than their variant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from runtime.errors import UserError
from training.checkpoint import WeightFacts, load_network, save_weights
from training.network import build
from training.network.widths import differing_widths

NARROWER = {"regress.fuseformer.block.mlp.0": (80, 96), "regress.fuseformer.block.mlp.2": (96, 80)}


def test_there_and_back() -> None:
    network = build("er-nano", NARROWER)
    assert network.widths == NARROWER == differing_widths(network, build("er-nano"))
    assert network.get_submodule("regress.fuseformer.block.mlp.0").weight.shape == (96, 80)
    assert build("er-nano").widths == {}


def test_a_depthwise_bottleneck() -> None:
    network = build("er-nano")
    block = "backbone.layers.8.layers"
    inputs = network.get_submodule(f"{block}.0.0.c").in_channels
    outputs = network.get_submodule(f"{block}.2.c").out_channels
    widths = {
        f"{block}.0.0.c": (inputs, 40),
        f"{block}.0.0.bn": (40, 40),
        f"{block}.1.0.c": (40, 40),
        f"{block}.1.0.bn": (40, 40),
        f"{block}.2.c": (40, outputs),
    }
    assert build("er-nano", widths).get_submodule(f"{block}.1.0.c").groups == 40


def test_weights_come_back_from_a_file(tmp_path: Path) -> None:
    network = build("er-nano", NARROWER).eval()
    for parameter in network.parameters():
        parameter.data = parameter.data.half().float()
    save(tmp_path / "w.safetensors", network, network.widths)
    loaded, facts = load_network(tmp_path / "w.safetensors", "er-nano")
    assert loaded.widths == NARROWER and facts.widths == {k: list(v) for k, v in NARROWER.items()}
    image = torch.rand(1, 3, 160, 160)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(loaded(image), network(image), strict=True))


def save(path: Path, network: Any, widths: Any) -> None:
    hand = {"name": "a hand", "sha256": "0"}
    save_weights(path, network.state_dict(), WeightFacts("er-nano", hand, "made", True, 1, 1, 0, widths=widths))


@pytest.mark.parametrize(
    "widths",
    [
        {"no.such.layer": (8, 8)},
        {"regress.fuseformer.block.mlp.0": (80, 0)},
        {"regress.fuseformer.block.mlp.0": (80, 10_000_000)},
        {"regress.fuseformer.block.mlp.0": (80, 96.0)},
        {"backbone.layers.8.layers.1.0.c": (40, 48)},
        {"backbone.layers.8.layers.1.0.bn": (40, 48)},
    ],
)
def test_what_are_no_widths(widths: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"widths|outputs as inputs"):
        build("er-nano", widths)
    save(tmp_path / "w.safetensors", build("er-nano"), widths)
    with pytest.raises(UserError, match="header cannot be read"):
        load_network(tmp_path / "w.safetensors", "er-nano")
