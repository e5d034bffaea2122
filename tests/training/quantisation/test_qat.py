"""Training for int8: where it rounds, how a run goes, resumes and is loaded, and what is refused."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.ao.quantization import FakeQuantize

from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from training import train
from training.checkpoint import WeightFacts, load_network, read_facts, save_weights
from training.initial_weights import initialise
from training.network import ERNet, build
from training.quantisation.int8_rules import QuantizeSpec
from training.quantisation.qat import calibrate, clipping_network, float_network, int8_spec_of, prepare, ranges_of
from training.recipe import QatSpec
from training.run import trainer

RECIPE = """variant = "er-nano"
images = 48
[[stages]]
crop_px = 64
batch = 4
steps = 3
[qat]
steps = 4
batch = 2
warmup_steps = 1
calibration_images = 8
"""
IMAGES = torch.rand(4, 3, 160, 160, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def few_validation_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "VALIDATION_IMAGES", 8)


def lively(variant: str = "er-nano") -> ERNet:
    """Random weights with norm statistics that are not those of a new network."""
    torch.manual_seed(0)
    network = build(variant).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return network


@pytest.fixture(scope="module")
def prepared() -> ERNet:
    network = prepare(lively(), QuantizeSpec())
    calibrate(network, IMAGES.split(2))
    return network


def apart(first: ERNet, second: ERNet) -> float:
    """Largest difference of the outputs."""
    images = nn.functional.interpolate(IMAGES, first.variant.crop_px)
    with torch.no_grad():
        pairs = zip(first(images), second(images), strict=True)
        return max(float((a - b).abs().max()) for a, b in pairs)


# ---- where it rounds


@pytest.mark.parametrize("variant", ["er-nano", "er-s", pytest.param("er", marks=pytest.mark.slow)])
def test_norms_are_folded_and_the_float_network_is_what_it_was(variant: str) -> None:
    network = lively(variant)
    prepared = prepare(copy.deepcopy(network), QuantizeSpec())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in prepared.modules())
    assert apart(network, float_network(prepared, rounded=False)) < 1e-4


def test_weights_are_whole_multiples_of_each_channels_scale(prepared: ERNet) -> None:
    for path in ranges_of(prepared):
        weight = prepared.get_submodule(path).weight.detach().flatten(1)
        multiples = weight / (weight.abs().amax(dim=1, keepdim=True) / 64)
        assert (multiples - multiples.round()).abs().max() < 1e-4, path
    kept = prepared.extract.heatmap[0].weight
    assert kept is prepared.get_parameter("extract.heatmap.0.weight")


def test_a_tensor_has_one_quantiser_that_all_its_readers_see(prepared: ERNet) -> None:
    quantisers = {p for p, m in prepared.named_modules() if isinstance(m, FakeQuantize)}
    ranges = ranges_of(prepared)
    assert int8_spec_of(prepared) == QuantizeSpec()
    # a residual block: the next block's first convolution and its own addition read the rounded sum
    assert "backbone.layers.7.output_quantizer" in quantisers
    assert "backbone.layers.8.layers.0.0.c.input_quantizer" not in quantisers
    # a ReLU is rounded, not what goes into it, and what follows reads that
    assert "backbone.layers.0.1.output_quantizer" in quantisers
    assert "backbone.layers.0.0.c.output_quantizer" not in quantisers
    assert ranges["backbone.layers.0.0.c"].output == ranges["backbone.layers.1.0.c"].input
    assert "regress.pose.0.reduce.input_quantizer" in quantisers
    with_output = {path for path, module_ranges in ranges.items() if module_ranges.output is not None}
    assert all(isinstance(prepared.get_submodule(path), nn.Conv2d) for path in with_output)


def test_ranges_are_those_of_the_images_and_hold_zero(prepared: ERNet) -> None:
    seen: dict[str, tuple[float, float]] = {}
    probe = float_network(prepared, rounded=True)

    def note(_: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        seen["range"] = (min(0.0, float(given[0].min())), max(0.0, float(given[0].max())))

    probe.get_submodule("regress.pose.0.reduce").register_forward_pre_hook(note)
    with torch.no_grad():
        probe(IMAGES)
    low, high = ranges_of(prepared)["regress.pose.0.reduce"].input.limits
    step = ranges_of(prepared)["regress.pose.0.reduce"].input.scale
    assert low == pytest.approx(seen["range"][0], abs=step) and high == pytest.approx(seen["range"][1], abs=step)


def test_without_rounding_of_activations_the_rounded_weights_are_left(prepared: ERNet) -> None:
    rounding = apart(prepared, float_network(prepared, rounded=True))
    clipping = apart(clipping_network(prepared), float_network(prepared, rounded=True))
    assert clipping < 0.2 * rounding
    assert any(isinstance(module, FakeQuantize) for module in prepared.modules())  # only the copy is changed


def test_gradients_reach_every_weight(prepared: ERNet) -> None:
    network = copy.deepcopy(prepared).train()
    outputs = network(IMAGES)
    sum(output.square().mean() for output in outputs).backward()
    without = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()}
    assert without == set()


# ---- a run


def write_recipe(folder: Path, text: str = RECIPE) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def float_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("float") / "er-nano.safetensors"
    hand = load_hand_models()[0]
    facts = WeightFacts("er-nano", {"name": hand.name, "sha256": hand.sha256}, "made", True, 1, 1, 0)
    save_weights(path, lively().state_dict(), facts)
    return path


def run(folder: Path, recipe: Path, init: Path, *more: str) -> Path:
    arguments = ["--recipe", str(recipe), "--qat", "--init", str(init), "--run-dir", str(folder), "--workers", "0"]
    assert train.main([*arguments, *more]) == 0
    return folder / "er-nano.safetensors"


@pytest.fixture(scope="module")
def finished(synthetic_root: Path, float_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qat")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "VALIDATION_IMAGES", 8)
        return run(folder, write_recipe(folder), float_weights)


def test_a_run_leaves_weights_that_load_as_they_were(finished: Path) -> None:
    facts = read_facts(finished)
    assert facts.qat == asdict(QatSpec(steps=4, batch=2, warmup_steps=1, calibration_images=8))
    assert (facts.steps, facts.samples) == (4, 8)
    network, _ = load_network(finished, "er-nano")
    assert not network.training
    checkpoint = torch.load(finished.parent / "checkpoint.pt", weights_only=True)
    expected = prepare(build("er-nano").eval(), QuantizeSpec())
    expected.load_state_dict(checkpoint["average"])
    assert ranges_of(network) == ranges_of(expected)
    stored = {n: (v.half().float() if v.dim() > 1 else v) for n, v in checkpoint["average"].items()}
    expected.load_state_dict({n: v.to(checkpoint["average"][n].dtype) for n, v in stored.items()})
    assert apart(network, expected) == 0


# ---- refused


def test_weights_trained_for_int8_are_no_start(finished: Path, synthetic_root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="already"):
        run(tmp_path / "run", write_recipe(tmp_path), finished)
    with pytest.raises(UserError, match="its norms are folded"):
        initialise(build("er-nano"), finished)


def test_a_pruned_network_is_trained_for_int8_and_comes_back(tmp_path: Path) -> None:
    widths = {"regress.fuseformer.block.mlp.0": (80, 96), "regress.fuseformer.block.mlp.2": (96, 80)}
    network = prepare(build("er-nano", widths).eval(), QuantizeSpec())
    calibrate(network, IMAGES.split(2))
    facts = WeightFacts("er-nano", {}, "made", True, 1, 1, 0, qat=asdict(QatSpec()), widths=network.widths)
    save_weights(tmp_path / "w.safetensors", network.state_dict(), facts)
    loaded, _ = load_network(tmp_path / "w.safetensors", "er-nano")
    assert ranges_of(loaded) == ranges_of(network)
    assert float_network(loaded, rounded=False).widths == widths


@pytest.mark.parametrize(
    ("qat", "high", "message"),
    [
        ({"reduce_range": True}, -1.0, r"layers\.0\.1\.output_quantizer has no range"),
        ({}, 1.0, "header cannot be read"),
        ("yes", 1.0, "header cannot be read"),
    ],
)
def test_broken_files(finished: Path, tmp_path: Path, qat: object, high: float, message: str) -> None:
    with safe_open(finished, "pt") as file:
        facts = json.loads(file.metadata()["er_edge"])
    tensors, path = load_file(finished), tmp_path / "broken.safetensors"
    tensors["backbone.layers.0.1.output_quantizer.activation_post_process.max_val"].fill_(high)
    save_file(tensors, path, metadata={"er_edge": json.dumps({**facts, "qat": qat})})
    with pytest.raises(UserError, match=message):
        load_network(path, "er-nano")
