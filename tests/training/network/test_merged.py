"""The form for inference gives what the network gives, of pruned networks too."""

from __future__ import annotations

import pytest
import torch

from training.network import VARIANTS, ERNet, build
from training.network.merged import merge

HIDDEN = {"regress.pose.0.mlp.0": (483, 88), "regress.pose.0.mlp.2": (88, 96)}
OF_HAND = {"regress.hand.1.mlp.0": (80, 40), "regress.hand.1.mlp.2": (40, 14)}


def spread(network: ERNet) -> ERNet:
    """Random weights everywhere: positions and biases begin at zero."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return network.eval()


@pytest.mark.parametrize(("name", "widths"), [("er-nano", {}), ("er-nano", HIDDEN | OF_HAND), ("er-s", {})])
def test_it_computes_the_same(name: str, widths: dict[str, tuple[int, int]]) -> None:
    torch.manual_seed(0)
    network = spread(build(name, widths))
    images = torch.rand(2, 3, *[network.variant.crop_px] * 2)
    with torch.no_grad():
        expected, found = network(images), merge(network)(images)
    for one, other in zip(expected, found, strict=True):
        assert (one - other).abs().max() < 1e-5 * max(1, one.abs().max())


@pytest.mark.parametrize("name", ["er-nano", "er-s"])
def test_images_of_a_batch_do_not_mix(name: str) -> None:
    torch.manual_seed(0)
    network = spread(build(name))
    images = torch.rand(3, 3, *[VARIANTS[name].crop_px] * 2)
    with torch.no_grad():
        together, alone = network(images), [network(image[None]) for image in images]
    for index, outputs in enumerate(together):
        expected = torch.cat([one[index] for one in alone])
        assert (outputs - expected).abs().max() < 1e-4 * max(1, expected.abs().max())
