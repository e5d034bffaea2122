"""The int8 file of weights that were trained to be int8: the same rounding in the same places, and what is refused."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from compress.check.parity import VERTEX_TOLERANCE_MM, check_trained_parity
from compress.export import export, main
from compress.onnx.flavours import write_trained as write_trained_int8
from compress.onnx.onnx_format import write_trained_file
from compress.onnx.to_onnx import write_onnx
from compress.request import ExportRequest
from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from tests.conftest import IMAGES
from training.checkpoint import WeightFacts, load_network, save_weights, weights_of
from training.data.dataset import open_frames
from training.network import ERNet, build
from training.quantisation.int8_rules import KEEP_FLOAT, Affine, QuantizeSpec, module_path
from training.quantisation.qat import calibrate, crop_batches, float_network, prepare, ranges_of
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


def test_8_bit_weights(tmp_path: Path) -> None:
    network = trained_network(QuantizeSpec(reduce_range=False))
    write_trained_file(network, tmp_path / "int8.onnx")
    assert check_trained_parity(network, tmp_path / "int8.onnx", CROPS, HANDS).passed
    tensors = [numpy_helper.to_array(t) for t in onnx.load(tmp_path / "int8.onnx").graph.initializer]
    assert max(np.abs(t.astype(int)).max() for t in tensors if t.dtype == np.int8 and t.ndim > 1) == 127


@pytest.mark.parametrize("damage", ["range", "weight", "place"])
def test_parity_sees_a_difference(damage: str, int8: Path, tmp_path: Path) -> None:
    """One range halved, one weight two steps off, one quantiser missing: each is another network."""
    other = trained_network(QuantizeSpec())
    with torch.no_grad():
        if damage == "range":
            other.get_submodule("backbone.layers.3.1.output_quantizer").scale.mul_(0.5)
        elif damage == "weight":
            weight = other.get_parameter("regress.pose.0.reduce.parametrizations.weight.original")
            weight[0, 0] += 2 * weight[0].abs().max() / 64 * (-1 if weight[0, 0] > 0 else 1)
        else:
            other.get_submodule("backbone.layers.3.1.output_quantizer").disable_fake_quant()
            other.get_submodule("backbone.layers.3.1")._forward_hooks.clear()
            other.get_submodule("backbone.layers.3.1").register_forward_hook(lambda m, x, y: y.clamp(max=0.5 * y.max()))
    assert not check_trained_parity(other, int8, CROPS[:2], HANDS).passed


def test_scales_and_integers_are_the_trained_ones(trained: ERNet, int8: Path) -> None:
    model = onnx.load(int8)
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    made_by = {name: node for node in model.graph.node for name in node.output}
    ranges, compared = ranges_of(trained), 0
    for node in model.graph.node:
        path = module_path(node.name)
        if node.op_type not in ("Conv", "Gemm") or path not in ranges:
            continue
        source = made_by[node.input[0]]
        given = Affine(float(constants[source.input[1]]), int(constants[source.input[2]]))
        assert given == ranges[path].input, path
        weight = trained.get_submodule(path).weight.detach().numpy()
        integers, scale = (constants[name] for name in made_by[node.input[1]].input[:2])
        if "MatMul" in node.name:  # a linear on three axes: the exporter turned its weight
            integers = integers.T
        if path == "backbone.layers.0.0.c":  # widened: a channel of zeros
            assert not integers[:, 3:].any()
            integers = integers[:, :3]
        scale = scale.reshape(-1, *[1] * (weight.ndim - 1))
        assert np.array_equal(integers, np.rint(weight / scale)), path
        compared += 1
    assert compared == len(ranges) > 50


def test_another_set_of_modules_is_a_fault(trained: ERNet, tmp_path: Path) -> None:
    write_onnx(float_network(trained, rounded=True), tmp_path / "float.onnx")
    ranges = dict(list(ranges_of(trained).items())[1:])
    with pytest.raises(ValueError, match="not the modules that were trained"):
        write_trained_int8(tmp_path / "float.onnx", tmp_path / "int8.onnx", ranges, QuantizeSpec())


# ---- the command


def save(network: ERNet, path: Path, reduce_range: bool = True) -> Path:
    hand = {"name": HANDS[0].name, "sha256": HANDS[0].sha256}
    facts = WeightFacts("er-nano", hand, "made", True, 1, 1, 0, qat=asdict(QatSpec(reduce_range=reduce_range)))
    save_weights(path, network.state_dict(), facts)
    return path


@pytest.fixture(scope="module")
def checkpoint(trained: ERNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(trained, tmp_path_factory.mktemp("checkpoint") / "er-nano.safetensors")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--int8", "--keep-float", "fuse"], "--keep-float has no effect: .* was trained to be int8"),
        (["--int8", "--calib-samples", "64"], "--calib-samples has no effect: .* was trained to be int8"),
    ],
)
def test_flags_without_effect(flags: list[str], message: str, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        main(["--variant", "er-nano", "--checkpoint", str(checkpoint), "--output-dir", str(tmp_path / "out"), *flags])
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_8_bit_weights_only_where_they_do_not_overflow(synthetic_cache: Path, tmp_path: Path) -> None:
    path = save(trained_network(QuantizeSpec(reduce_range=False)), tmp_path / "full.safetensors", reduce_range=False)
    arguments = ["--variant", "er-nano", "--int8", "--checkpoint", str(path), "--output-dir", str(tmp_path / "out")]
    for target in ([], ["--target", "x86-64-avx2"]):
        with pytest.raises(UserError, match="8-bit weights, which overflow on"):
            main([*arguments, *target])


@pytest.mark.slow
def test_export(checkpoint: Path, small_request: ExportRequest, tmp_path: Path) -> None:
    request = replace(
        small_request, random_weights=False, checkpoint=checkpoint, calib_samples=None, output_dir=tmp_path / "out"
    )
    entry = export(request)
    assert entry["verdict"]["status"] == "passed", entry["verdict"]
    passport = json.loads((tmp_path / "out" / "er-nano_160_int8.json").read_text())
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "er-nano_160_fp32.json",
        "er-nano_160_fp32.onnx",
        "er-nano_160_int8.json",
        "er-nano_160_int8.onnx",
        "report.json",
    ]
    assert passport["parity"]["trained"]["without_rounding"]["vertex_mm"] <= VERTEX_TOLERANCE_MM
    assert passport["calibration"] is None and passport["weights"]["qat"]["steps"] == 1000
    difference = passport["parity"]["trained"]["mpjpe_difference_mm"]
    torch_mm = passport["parity"]["trained"]["torch_mpjpe_mm"]
    assert passport["accuracy"]["mpjpe_mm"] - torch_mm == pytest.approx(difference, abs=2e-3)


@pytest.mark.slow
def test_the_shipped_er_xs_with_rounding_is_the_same_file(synthetic_cache: Path, tmp_path: Path) -> None:
    """Real weights on real crops, to the tolerance of a float export."""
    frames = open_frames("synthetic", "test", HANDS, IMAGES)
    network, _ = load_network(weights_of("er-xs"), "er-xs")
    batches = list(crop_batches(frames, network.variant.crop_px))
    calibrate(prepare(network, QuantizeSpec()), batches)
    write_trained_file(network, tmp_path / "int8.onnx")
    crops = (torch.cat(batches).permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
    parity = check_trained_parity(network, tmp_path / "int8.onnx", crops, HANDS)
    assert parity.n_images == IMAGES and parity.vertex_mm <= VERTEX_TOLERANCE_MM
