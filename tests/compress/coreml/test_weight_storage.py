"""Rounding in torch and storage in the package are the same numbers; what systems lack is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from torch import nn

from compress.coreml import quiet
from compress.coreml.evaluator import Evaluator
from compress.coreml.package import size_bytes
from compress.coreml.weight_storage import (
    MIN_ELEMENTS,
    compress,
    round_fp16,
    round_w8,
    rounded,
)
from tests.fixtures.mil_programs import make_model
from training.network import build
from training.network.backbones.tinyvit import WindowAttention

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(0, 0.1, (40, 30, 3, 3)).astype(np.float32)
MATRICES = arrays(np.float32, (3, 50), elements=st.floats(-30, 30, width=32))


@settings(max_examples=300)
@given(MATRICES)
def test_rounding_twice_is_rounding_once(weight: NDArray[np.float32]) -> None:
    """What lets coremltools' own compression find the same integers again."""
    for rounding in (round_fp16, round_w8):
        once = rounding(weight)
        assert np.array_equal(rounding(once), once)
        assert np.array_equal(once, once.astype(np.float16))


# ---- storage

MATRIX = RNG.normal(0, 0.05, (50, 40 * 36)).astype(np.float32)
ODD = RNG.normal(0, 1, (60, 50)).astype(np.float32)  # of 3000 different numbers


def test_a_package_holds_exactly_the_rounded_weights(tmp_path: Path) -> None:

    def layers(mb: Any, x: Any) -> Any:
        """A convolution and a linear of rounded weights, and one constant that was not rounded."""
        x = mb.reshape(x=mb.conv(x=x, weight=round_w8(WEIGHT), name="seen"), shape=[1, 40 * 36])
        return mb.mul(x=mb.linear(x=x, weight=round_w8(MATRIX), name="made"), y=ODD, name="odd")

    model, path = make_model((1, 30, 8, 8), layers, "fp16"), tmp_path / "a.mlpackage"
    with quiet():
        compress(model).save(str(path))
    constants = [value for value in Evaluator(path).constants.values() if isinstance(value, torch.Tensor)]
    for expected in (round_w8(WEIGHT), round_w8(MATRIX), round_fp16(ODD)):
        (found,) = (value.numpy() for value in constants if value.shape == expected.shape)
        assert np.array_equal(found, expected)
    assert size_bytes(path) < WEIGHT.size + MATRIX.size + 2 * ODD.size + 16384


# ---- the network


@pytest.mark.parametrize(
    ("variant", "name", "rounding"),
    [("er-nano", "w8", round_w8), ("er-s", "w8", round_w8), ("er-s", "fp16", round_fp16)],
)
def test_a_rounded_network(variant: str, name: str, rounding: Any) -> None:
    torch.manual_seed(0)
    network = build(variant).eval()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    copied = rounded(network, name)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in state.items())
    for part in copied.modules():
        assert not isinstance(part, nn.BatchNorm2d)
        if isinstance(part, nn.Conv2d | nn.Linear) and part.weight.numel() > MIN_ELEMENTS:
            weight = part.weight.detach().numpy()
            assert np.array_equal(weight, rounding(weight))
        if isinstance(part, WindowAttention):
            biases = part.attention_biases.detach().numpy()
            assert np.array_equal(biases, rounding(biases))
    for parameter in copied.parameters():
        assert torch.equal(parameter, parameter.half().float())
