"""Starting from weights: the project's own, and files in the layouts of public ones; and the shipped ones' cards."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from training.checkpoint import (
    SHIPPED,
    WeightFacts,
    initialise,
    load_network,
    read_facts,
    save_weights,
    shipped_weights,
    weights_of,
)
from training.network import build

Tensors = dict[str, Tensor]
# timm's names of a MobileNetV4-Conv-Small's bottlenecks: the parts of each block of stages 2 and 3.
EXTRA = ("dw_start", "pw_exp", "dw_mid", "pw_proj")
PLAIN = ("pw_exp", "dw_mid", "pw_proj")
BOTTLENECKS = ((EXTRA, *[PLAIN] * 4, ("dw_start", "pw_exp", "pw_proj")), (EXTRA, EXTRA, *[PLAIN] * 4))


def filled(state: Tensors) -> Tensors:
    return {k: torch.randn_like(v) if v.is_floating_point() else v for k, v in state.items()}


def backbone_state(variant: str) -> Tensors:
    torch.manual_seed(7)
    return filled(build(variant).backbone.state_dict())


def cream(state: Tensors) -> object:
    """Under "model", with a classifier."""
    return {"model": {**state, "head.weight": torch.zeros(1000, 320), "head.bias": torch.zeros(1000)}}


def mobile_sam(state: Tensors) -> object:
    """The image encoder, beside what segments."""
    others = {"image_encoder.neck.0.weight": torch.zeros(1), "mask_decoder.iou_token.weight": torch.zeros(1)}
    return {**{f"image_encoder.{name}": tensor for name, tensor in state.items()}, **others}


def timm_tinyvit(state: Tensors) -> object:
    """Downsampling at the next stage's beginning."""
    made = {"head.fc.weight": torch.zeros(1000, 320)}
    for name, tensor in state.items():
        name = re.sub(r"^layers\.(\d)\.downsample", lambda found: f"stages.{int(found[1]) + 1}.downsample", name)
        name = name.replace("layers.", "stages.").replace(".c.weight", ".conv.weight")
        name = name.replace("patch_embed.seq.0", "patch_embed.conv1").replace("patch_embed.seq.2", "patch_embed.conv2")
        made[name.replace("norm_head", "head.norm")] = tensor
    return made


def timm_mobilenet(state: Tensors) -> object:
    """By stage, block and part: in the order of the layers here."""
    modules = [("conv_stem", "bn1"), *((f"blocks.{s}.{b}.conv", f"blocks.{s}.{b}.bn1") for s in (0, 1) for b in (0, 1))]
    for stage, blocks in enumerate(BOTTLENECKS, 2):
        for block, parts in enumerate(blocks):
            modules += [tuple(f"blocks.{stage}.{block}.{part}.{x}" for x in ("conv", "bn")) for part in parts]
    modules.append(("blocks.4.0.conv", "blocks.4.0.bn1"))
    flat = iter([name for pair in modules for name in pair])
    made, names = {"classifier.weight": torch.zeros(1000, 1280)}, {}
    for name, tensor in state.items():
        module, _, leaf = name.rpartition(".")
        names[module] = names.get(module) or next(flat)
        wider = names[module].startswith("blocks.4") and tensor.dim() > 0
        made[f"{names[module]}.{leaf}"] = torch.cat([tensor, tensor]) if wider else tensor
    return made


def torchvision(state: Tensors) -> object:
    return {**state, "fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}


@pytest.mark.parametrize(
    ("variant", "layout", "left_out"),
    [
        ("er-s", cream, "head.bias, head.weight"),
        ("er-s", mobile_sam, ""),
        ("er-s", timm_tinyvit, "head.fc.weight"),
        ("er-xs", timm_mobilenet, "left out 6: layers.17.0.c.weight, layers.17.0.bn.weight"),
        ("er", torchvision, "fc.bias, fc.weight"),
    ],
)
def test_public_layouts(variant: str, layout: Callable[[Tensors], object], left_out: str, tmp_path: Path) -> None:
    state = backbone_state(variant)
    torch.save(layout(state), tmp_path / "weights.pth")
    network = build(variant)
    head = network.regress.translation[0].weight.clone()
    said = initialise(network, tmp_path / "weights.pth")
    taken = {k: v for k, v in state.items() if v.is_floating_point() and (variant != "er-xs" or "layers.17" not in k)}
    assert all(torch.equal(network.backbone.state_dict()[k], v) for k, v in taken.items())
    assert torch.equal(network.regress.translation[0].weight, head)
    assert "the backbone was taken, the rest of the network starts at random" in said
    assert ("left out" in said) == bool(left_out) and left_out in said


@pytest.mark.parametrize("prefix", ["", "model.", "module._orig_mod.", "network."])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_whole_network_of_ones_own_is_taken_whole(prefix: str, wrapped: bool, tmp_path: Path) -> None:
    state = filled(build("er-nano").state_dict())
    content = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    torch.save({"state_dict": content, "epoch": 3} if wrapped else content, tmp_path / "x.pth")
    network = build("er-nano")
    assert initialise(network, tmp_path / "x.pth").endswith("the whole network was taken")
    assert all(torch.equal(network.state_dict()[k], v) for k, v in state.items() if v.is_floating_point())


def test_own_weights_fill_the_whole_network(tmp_path: Path) -> None:
    source, network, path = build("er-nano"), build("er-nano"), tmp_path / "own.safetensors"
    facts = WeightFacts("er-nano", {"name": "a hand", "sha256": "0"}, "a set", True, 1, 1, 0)
    save_weights(path, source.state_dict(), facts)
    initialise(network, path)
    for name, value in network.state_dict().items():
        assert torch.allclose(value.float(), source.state_dict()[name].float(), atol=1e-3), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv1.weight": None}, r"lacks 1 of .*conv1\.weight"),
        ({"conv1.weight": torch.zeros(32, 3, 7, 7)}, "another size"),
        ({"conv1.weight": torch.full((64, 3, 7, 7), torch.nan)}, "not finite"),
        ({"extract.project.0.weight": torch.zeros(1)}, "lacks .* of the network's"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    network = build("er")
    before = network.backbone.state_dict()["conv1.weight"].clone()
    content = {**backbone_state("er"), **change}
    torch.save({k: v for k, v in content.items() if v is not None}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=message):
        initialise(network, tmp_path / "weights.pth")
    assert torch.equal(network.backbone.state_dict()["conv1.weight"], before)


def test_files_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    for content, message in ((None, "cannot read"), ("text", "cannot be read"), ([1, 2], "state dict")):
        if isinstance(content, str):
            path.write_text(content)
        elif content is not None:
            torch.save(content, path)
        with pytest.raises(UserError, match=message):
            initialise(build("er-nano"), path)
    with pytest.raises(UserError, match=r"is a torch file: give the \.safetensors .*train\.py --init"):
        read_facts(path)


WEIGHTS = sorted(SHIPPED.glob("*.safetensors"))
HANDS = load_hand_models()


def card_of(path: Path) -> dict:
    return json.loads(path.with_suffix(".json").read_text())


@pytest.mark.parametrize("path", WEIGHTS, ids=lambda path: path.stem)
def test_card_and_file_belong_together(path: Path) -> None:
    card, facts = card_of(path), read_facts(path)
    assert shipped_weights(path.stem) == weights_of(path.stem) == path
    assert card["weights_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert card["hand_model"] == facts.hand_model == {"name": HANDS[0].name, "sha256": HANDS[0].sha256}
    training = card["training"]
    assert (training["steps"], training["samples"], training["seed"]) == (facts.steps, facts.samples, facts.seed)
    assert training["synthetic"] is facts.synthetic is True
    assert "synthetic" in card["accuracy"]["dataset"]
    assert card["accuracy"]["n_images"] >= 1000
    load_network(path, path.stem)


@pytest.mark.parametrize(("variant", "share"), [("er-xs", 0.68), ("er-c", 0.69), ("er-s", 0.69)])
def test_clearly_better_than_the_mean_pose(variant: str, share: float) -> None:
    card = card_of(weights_of(variant))
    assert card["accuracy"]["mpjpe_mm"] <= share * card["mean_pose_mpjpe_mm"]


def test_weights_trained_to_be_int8_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "er-nano.safetensors"
    facts = asdict(read_facts(weights_of("er-nano"))) | {"qat": {"steps": 1000}}
    save_file({}, path, metadata={"er_edge": json.dumps(facts)})
    with pytest.raises(UserError, match="was trained to be int8, which is gone"):
        load_network(path, "er-nano")
