"""Starting from weights: the project's own, and files in the layouts of public ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from runtime.errors import UserError
from training.checkpoint import WeightFacts, save_weights
from training.initial_weights import initialise
from training.network import build

Tensors = dict[str, Tensor]


def backbone_state(variant: str) -> Tensors:
    torch.manual_seed(7)
    return {
        k: torch.randn_like(v) if v.is_floating_point() else v for k, v in build(variant).backbone.state_dict().items()
    }


def tinyvit_file(path: Path, state: Tensors) -> None:
    """Microsoft's: under "model", with a classifier and index tables."""
    extra = {"head.weight": torch.zeros(1000, 320), "head.bias": torch.zeros(1000)}
    torch.save({"model": {**state, **extra}}, path)


def resnet_file(path: Path, state: Tensors) -> None:
    """torchvision's: bare, with a classifier."""
    torch.save({**state, "fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, path)


def prefixed_file(path: Path, state: Tensors) -> None:
    """As DistributedDataParallel saves it."""
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, path)


def safetensors_file(path: Path, state: Tensors) -> None:
    """timm's."""
    save_file({k: v.contiguous() for k, v in state.items()}, path)


@pytest.mark.parametrize(
    ("variant", "name", "write"),
    [
        ("er-s", "tiny_vit_5m.pth", tinyvit_file),
        ("er", "resnet50.pth", resnet_file),
        ("er", "resnet50_ddp.pth", prefixed_file),
        ("er-s", "model.safetensors", safetensors_file),
    ],
)
def test_public_layouts(variant: str, name: str, write: Callable[[Path, Tensors], None], tmp_path: Path) -> None:
    state = backbone_state(variant)
    write(tmp_path / name, state)
    network = build(variant)
    head = network.regress.translation[0].weight.clone()
    initialise(network, tmp_path / name)
    filled = network.backbone.state_dict()
    assert all(torch.equal(filled[k], v) for k, v in state.items() if v.is_floating_point())
    assert torch.equal(network.regress.translation[0].weight, head)


def test_own_weights_fill_the_whole_network(tmp_path: Path) -> None:
    torch.manual_seed(3)
    source, network = build("er-nano"), build("er-nano")
    hand = {"name": "a hand", "sha256": "0"}
    save_weights(
        tmp_path / "own.safetensors", source.state_dict(), WeightFacts("er-nano", hand, "a set", True, 1, 1, 0)
    )
    initialise(network, tmp_path / "own.safetensors")
    for name, value in network.state_dict().items():
        assert torch.allclose(value.float(), source.state_dict()[name].float(), atol=1e-3), name


def broken(kind: str, path: Path) -> Path:
    state = backbone_state("er")
    match kind:
        case "missing":
            state.pop("conv1.weight")
        case "size":
            state["conv1.weight"] = torch.zeros(32, 3, 7, 7)
        case "nan":
            state["conv1.weight"][0] = float("nan")
        case "text":
            path.write_text("no weights")
            return path
        case "list":
            torch.save([1, 2], path)
            return path
        case "code":
            torch.save({"conv1.weight": print}, path)
            return path
        case "none":
            return path
    torch.save(state, path)
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", r"lacks 1 of .*conv1\.weight"),
        ("size", "another size"),
        ("nan", "not finite"),
        ("text", "cannot be read"),
        ("list", "state dict"),
        ("code", "cannot be read"),
        ("none", "no weights at"),
    ],
)
def test_what_does_not_fit_is_refused(kind: str, message: str, tmp_path: Path) -> None:
    network = build("er")
    before = network.backbone.state_dict()["conv1.weight"].clone()
    with pytest.raises(UserError, match=message):
        initialise(network, broken(kind, tmp_path / "weights.pth"))
    assert torch.equal(network.backbone.state_dict()["conv1.weight"], before)
