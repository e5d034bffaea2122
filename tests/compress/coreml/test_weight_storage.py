"""Rounding in torch and storage in the package are the same numbers; what systems lack is refused."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from compress.coreml import weight_storage as module
from compress.coreml.library import quiet
from compress.coreml.package import read_package
from compress.coreml.program import read_program
from compress.coreml.weight_storage import (
    INT8_MAX,
    PALETTE_BITS,
    WEIGHT_FORMATS,
    check_deployment_target,
    compress,
    get_weight_format,
    palette_of,
    round_fp16,
    round_palette6,
    round_w8,
)
from runtime.errors import UserError
from tests.fixtures.mil_programs import make_model

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(0, 0.1, (40, 30, 3, 3)).astype(np.float32)
MATRICES = arrays(np.float32, (3, 50), elements=st.floats(-30, 30, width=32))


def test_fp16() -> None:
    assert np.array_equal(round_fp16(WEIGHT), WEIGHT.astype(np.float16))
    assert round_fp16(WEIGHT).dtype == np.float32


@given(MATRICES)
def test_w8_is_steps_of_one_scale_per_output(weight: NDArray[np.float32]) -> None:
    rounded = round_w8(weight)
    for before, row in zip(weight, rounded, strict=True):
        largest = np.abs(before).max()
        # Half a step, and what fp16 takes from the scale (127 times) and from the result.
        assert np.abs(row - before).max() <= largest / INT8_MAX / 2 + 0.0015 * largest + 127 * 2.0**-24
        levels = np.unique(np.abs(row))
        assert len(levels) <= INT8_MAX + 1


@settings(max_examples=300)
@given(MATRICES)
def test_rounding_twice_is_rounding_once(weight: NDArray[np.float32]) -> None:
    """What lets coremltools' own compression find the same integers again."""
    for rounding in (round_fp16, round_w8, round_palette6):
        once = rounding(weight)
        assert np.array_equal(rounding(once), once)
        assert np.array_equal(once, once.astype(np.float16))


def test_w8_keeps_zero_rows_and_signs() -> None:
    weight = WEIGHT.copy()
    weight[3] = 0
    rounded = round_w8(weight)
    assert not rounded[3].any()
    assert np.array_equal(np.sign(round_w8(-weight)), -np.sign(rounded))


def test_palette_has_64_values_and_is_near_the_best() -> None:
    rounded = round_palette6(WEIGHT)
    values = np.unique(rounded)
    assert len(values) == 1 << PALETTE_BITS
    error = ((rounded - WEIGHT) ** 2).mean()
    uniform = np.linspace(WEIGHT.min(), WEIGHT.max(), 64)
    straight = uniform[np.abs(WEIGHT[..., None] - uniform).argmin(axis=-1)]
    assert error < 0.6 * ((straight - WEIGHT) ** 2).mean()
    # Each weight takes its nearest value.
    centres = [(a + b) / 2 for a, b in pairwise(values)]
    assert np.array_equal(rounded, values[np.searchsorted(centres, round_fp16(WEIGHT))])


def test_few_values_stay_as_they_are() -> None:
    weight = round_fp16(RNG.choice(RNG.normal(size=64), (30, 40)).astype(np.float32))
    assert np.array_equal(round_palette6(weight), weight)


def test_palette_and_places_give_the_weight_back() -> None:
    weight = round_palette6(WEIGHT).astype(np.float16)
    palette, places = palette_of(weight)
    assert palette.shape == (64,) and places.dtype == np.uint8
    assert np.array_equal(palette[places].reshape(weight.shape), weight)


def test_palette_of_many_equal_fp16_numbers() -> None:
    """numpy sorts large fp16 arrays of few values wrongly on some CPUs: np.unique then gives values twice."""
    weight = RNG.choice(RNG.normal(size=64).astype(np.float16), 100_000)
    palette, places = palette_of(weight)
    assert np.all(np.diff(palette.astype(np.float32)) > 0)
    assert np.array_equal(palette[places], weight)


# ---- storage


def layers(mb: Any, x: Any) -> Any:
    """A convolution and a linear of rounded weights, one that is too small, and one that was not rounded."""
    rounding = layers.rounding  # type: ignore[attr-defined]
    x = mb.conv(x=x, weight=rounding(WEIGHT), name="seen")
    x = mb.conv(x=x, weight=rounding(WEIGHT[:30, :, :1, :1].repeat(2, 0)[:40, :30].swapaxes(0, 1).copy()), name="small")
    x = mb.reshape(x=x, shape=[1, 30 * 36])
    x = mb.linear(x=x, weight=rounding(RNG_MATRIX), name="made")
    return mb.mul(x=x, y=ODD, name="odd")


RNG_MATRIX = RNG.normal(0, 0.05, (50, 30 * 36)).astype(np.float32)
ODD = RNG.normal(0, 1, (60, 50)).astype(np.float32)  # of 3000 different numbers


@pytest.mark.parametrize("name", ["w8", "palette6"])
def test_a_package_holds_exactly_the_rounded_weights(name: str, tmp_path: Path) -> None:
    format = get_weight_format(name)
    layers.rounding = format.rounding  # type: ignore[attr-defined]
    model = make_model({"x": (1, 30, 8, 8)}, layers, "fp16")
    with quiet():
        compress(model, format).save(str(tmp_path / "a.mlpackage"))
    program = read_program(read_package(tmp_path / "a.mlpackage"))
    assert len(program.compressed) == 2  # the small one and the odd one stay fp16
    weights = {op.kind: program.constants[op.inputs["weight"][0]] for op in program.operations if "weight" in op.inputs}
    first = next(op for op in program.operations if op.kind == "conv")
    assert first.inputs["weight"][0] in program.compressed
    assert format.rounding is not None
    assert np.array_equal(program.constants[first.inputs["weight"][0]], format.rounding(WEIGHT))
    assert np.array_equal(weights["linear"], format.rounding(RNG_MATRIX))
    odd = next(op for op in program.operations if op.kind == "mul")
    stored = [program.constants[n] for names in odd.inputs.values() for n in names if n in program.constants]
    assert np.array_equal(stored[0], ODD.astype(np.float16))
    size = (tmp_path / "a.mlpackage/Data/com.apple.CoreML/weights/weight.bin").stat().st_size
    numbers = {"w8": 1.0, "palette6": 0.75}[name] * (WEIGHT.size + RNG_MATRIX.size)
    assert size < numbers + 2 * (900 + ODD.size) + 4096


def test_fp16_stores_what_is_there() -> None:
    model = object()
    assert compress(model, WEIGHT_FORMATS["fp16"]) is model


# ---- names and systems


def test_formats_by_name() -> None:
    assert get_weight_format("w8").name == "w8"
    with pytest.raises(UserError, match="unknown weight format 'pallete6'; did you mean palette6"):
        get_weight_format("pallete6")


@pytest.mark.parametrize("name", ["w8", "palette6"])
def test_older_systems_are_refused_with_the_reason(name: str) -> None:
    for target in ("iOS16", "iOS17", "iOS18"):
        check_deployment_target(target, get_weight_format(name))
    with pytest.raises(UserError, match=f"{name} .* needs iOS16, and the package must run on iOS15"):
        check_deployment_target("iOS15", get_weight_format(name))


def test_unknown_systems() -> None:
    check_deployment_target("iOS15", get_weight_format("fp16"))
    with pytest.raises(UserError, match="unknown deployment target 'iOS 16'; did you mean iOS16"):
        check_deployment_target("iOS 16", get_weight_format("fp16"))


# ---- the network


def test_a_rounded_network() -> None:
    import torch
    from torch import nn

    from training.network import build

    torch.manual_seed(0)
    network = build("er-nano").eval()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    rounded = module.rounded(network, get_weight_format("w8"))
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in state.items())  # a copy
    assert not any(isinstance(part, nn.BatchNorm2d) for part in rounded.modules())
    for part in rounded.modules():
        if isinstance(part, nn.Conv2d | nn.Linear) and part.weight.numel() > module.MIN_ELEMENTS:
            weight = part.weight.detach().numpy()
            assert np.array_equal(weight, round_w8(weight))
    for parameter in rounded.parameters():
        assert torch.equal(parameter, parameter.half().float())


def test_attention_biases_are_rounded() -> None:
    import torch

    from training.network import build
    from training.network.backbones.tinyvit import WindowAttention

    torch.manual_seed(0)
    network = build("er-s").eval()
    rounded = module.rounded(network, get_weight_format("palette6"))
    tables = [part.attention_biases for part in rounded.modules() if isinstance(part, WindowAttention)]
    assert tables and all(len(table.unique()) <= 64 for table in tables)
