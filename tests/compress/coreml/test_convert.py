"""The smallest variant as packages: what is in them, what they say of themselves, and what is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compress.coreml.convert import as_stored, write_package
from compress.coreml.coreml_format import check_package
from compress.coreml.evaluator import Evaluator
from compress.coreml.package import computing, dtype_of, leaving, read_function, read_model, size_bytes
from compress.coreml.weight_storage import MIN_ELEMENTS
from runtime.backends.contract import OUTPUT_SHAPES, OUTPUT_UNITS
from runtime.hand.hand_model import load_hand_models
from runtime.runner import graph_input
from training.network import ERNet, build

CROPS = np.random.default_rng(0).integers(0, 256, (2, 160, 160, 3), dtype=np.uint8)

Made = tuple[Path, Any]  # with the MIL function
Maker = Callable[..., Made]


@pytest.fixture(scope="module")
def network() -> ERNet:
    torch.manual_seed(0)
    return build("er-nano").eval()


@pytest.fixture(scope="module")
def made(network: ERNet, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """Packages by precision and options, each made once."""
    folder = tmp_path_factory.mktemp("packages")

    @cache
    def make(precision: str, target: str = "iOS16", image_input: bool = False) -> Made:
        path = folder / f"{precision}-{target}-{image_input}.mlpackage"
        write_package(network, path, precision, target, image_input)
        return path, read_function(path)

    return make


@pytest.mark.slow
def test_facts(made: Maker, network: ERNet) -> None:
    path, function = made("fp16")
    assert [(v.name, dtype_of(v), v.shape) for v in function.inputs.values()] == [("image", "fp32", (1, 3, 160, 160))]
    given = {v.name: (dtype_of(v), v.shape) for v in function.outputs}
    assert given == {name: ("fp32", shape) for name, shape in OUTPUT_SHAPES.items()}
    parameters = sum(p.numel() for p in as_stored(network, "fp16").parameters())
    assert 2 * parameters < size_bytes(path) < 2 * parameters + 150_000


@pytest.mark.slow
def test_metadata_says_units(made: Maker) -> None:
    description = read_model(made("fp16")[0]).description
    for output, (name, facts) in zip(description.output, OUTPUT_UNITS.items(), strict=True):
        assert (output.name, output.shortDescription) == (name, f"{facts['unit']}; {facts['shape']}")
        assert list(output.type.multiArrayType.shape) == facts["shape"]
    assert "er-nano" in description.metadata.shortDescription and "right, left" in description.metadata.shortDescription
    assert description.input[0].shortDescription.startswith("RGB, 0..1; NCHW")
    (given,) = read_model(made("fp16", "iOS17", True)[0]).description.input
    picture = given.type.imageType
    assert (picture.width, picture.height) == (160, 160) and picture.colorSpace == picture.RGB
    assert "0..1" not in given.shortDescription  # Core ML gives pixels, 0..255


@pytest.mark.slow
def test_a_picture_gives_the_same_hands(made: Maker) -> None:
    """Scaling lies inside; pixels are what Core ML hands over."""
    plain, picture = Evaluator(made("fp16", "iOS17")[0]), Evaluator(made("fp16", "iOS17", True)[0])
    for arithmetic in ("fp32", "fp16"):  # the scaling is kept in fp32
        for crop in CROPS:
            one, other = (package({"image": graph_input(crop)}, arithmetic) for package in (plain, picture))
            for name in OUTPUT_SHAPES:
                np.testing.assert_allclose(other[name], one[name], rtol=2e-5, atol=2e-5)


@pytest.mark.slow
def test_what_is_kept_in_fp32(made: Maker) -> None:
    _, function = made("fp16")
    kept = Counter(op.op_type for op in computing(function) if any(dtype_of(value) == "fp32" for value in op.outputs))
    assert kept["cast"] == len(OUTPUT_SHAPES)
    assert kept["mul"] + kept["sub"] > 2
    assert kept["softmax"] == 1  # that of the heat maps, not of attention
    assert not {"conv", "matmul", "layer_norm"} & kept.keys()
    assert computing(function)[0].op_type in ("sub", "mul")  # the picture, before it is rounded
    assert leaving(function) == {"fp32 arithmetic": dict(kept)}


@pytest.mark.slow
@pytest.mark.parametrize("target", ["iOS16", "iOS18"])
def test_the_package_holds_the_rounded_network(made: Maker, network: ERNet, target: str) -> None:
    path, _ = made("w8", target)
    inside: dict[tuple[int, ...], list[np.ndarray]] = {}
    for value in Evaluator(path).constants.values():
        if isinstance(value, torch.Tensor):
            inside.setdefault(tuple(value.shape), []).append(value.numpy())
    parts = as_stored(network, "w8").modules()
    weights = [part.weight.detach().numpy() for part in parts if isinstance(part, nn.Conv2d | nn.Linear)]
    for weight in weights:
        assert any(np.array_equal(value, weight) for value in inside[weight.shape])
    large = [weight for weight in weights if weight.size > MIN_ELEMENTS]
    assert len(large) > 50
    scales = sum(2 * len(weight) for weight in large)
    operations = 700 * len(large)  # the text of each, and its entries in the file, which begin at multiples of 64
    assert size_bytes(path) < size_bytes(made("fp16")[0]) - sum(w.size for w in large) + scales + operations


@pytest.mark.slow
def test_fp32_is_the_network_as_given(made: Maker, network: ERNet) -> None:
    path, function = made("fp32")
    assert {dtype_of(value) for op in computing(function) for value in op.outputs} == {"fp32"}
    parity = check_package(network, path, "fp32", CROPS, load_hand_models())
    other = check_package(build("er-nano").eval(), path, "fp32", CROPS, load_hand_models())
    assert "the program is not the network" in other.reasons[0]
    assert parity.reasons == ()
