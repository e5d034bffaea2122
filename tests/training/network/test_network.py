"""The variants: budgets, contract, official parameter names, exact sampling, small-device rules."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from training.network import VARIANTS, Outputs, build
from training.network.backbones.tinyvit import offset_index
from training.network.count import count_gmac, count_parameters_m
from training.network.extract import cell_grid, soft_argmax
from training.network.regress import sample_weights


@pytest.mark.parametrize("name", VARIANTS)
def test_within_budget(name: str) -> None:
    network, variant = build(name), VARIANTS[name]
    assert count_parameters_m(network) <= variant.params_budget_m
    assert count_gmac(network, variant.crop_px) <= variant.gmac_budget


@pytest.mark.parametrize("name", VARIANTS)
def test_outputs_follow_the_contract(name: str) -> None:
    network = build(name).eval()
    size = network.variant.crop_px
    with torch.no_grad():
        outputs = network(torch.rand(1, 3, size, size))
    shapes = {field: tuple(value.shape) for field, value in zip(Outputs._fields, outputs, strict=True)}
    assert shapes == {
        "rotation6d": (1, 2, 16, 6),
        "shape": (1, 2, 10),
        "camera": (1, 2, 3),
        "joints_image": (1, 2, 21, 3),
        "relative_translation": (1, 3),
        "presence": (1, 2),
    }
    cells = outputs.joints_image
    assert cells.min() >= 0 and cells.max() <= network.variant.map_size - 1


def test_gmac_counts_what_the_backbone_is_known_to_cost() -> None:
    # 1.255 GMAC and 5.07 M parameters: TinyViT-5M at 224 px without its classifier (paper: 1.3 G, 5.4 M with it).
    backbone = build("er-s").backbone
    assert count_gmac(backbone, 224) == pytest.approx(1.255, abs=0.002)
    assert count_parameters_m(backbone) == pytest.approx(5.07, abs=0.01)


def test_tinyvit_has_the_official_names() -> None:
    """Of microsoft/Cream's tiny_vit.py: one of each kind; all are held by the shipped weights, which load by name."""
    names = build("er-s").backbone.state_dict()
    block = "layers.1.blocks.0"
    convolutions = ("patch_embed.seq.2", "layers.0.blocks.1.conv3", f"{block}.local_conv", "layers.2.downsample.conv2")
    linears = (f"{block}.attn.qkv", f"{block}.attn.proj", f"{block}.mlp.fc1", f"{block}.mlp.norm", "norm_head")
    assert {f"{name}.{leaf}" for name in convolutions for leaf in ("c.weight", "bn.running_var")} <= set(names)
    assert {f"{name}.{leaf}" for name in linears for leaf in ("weight", "bias")} <= set(names)
    assert names["layers.2.blocks.0.attn.attention_biases"].shape == (5, 196)


def test_attention_offsets_have_the_official_order() -> None:
    # The official code numbers offsets (|dy|, |dx|) in order of first appearance over all pairs of a window's cells.
    window = 4
    order: dict[tuple[int, int], int] = {}
    cells = [(y, x) for y in range(window) for x in range(window)]
    expected = [[order.setdefault((abs(a[0] - b[0]), abs(a[1] - b[1])), len(order)) for b in cells] for a in cells]
    assert offset_index(window, window).tolist() == expected


def test_sampling_equals_grid_sample() -> None:
    torch.manual_seed(1)
    features = torch.rand(1, 5, 7, 6)
    joints = torch.rand(1, 42, 2) * torch.tensor([8.0, 9.0]) - 1.5  # some outside the map
    weights = sample_weights(joints, 7, 6)
    ours = weights @ features.flatten(2).transpose(1, 2)
    grid = (joints + 0.5) / torch.tensor([6.0, 7.0]) * 2 - 1
    theirs = functional.grid_sample(features, grid[:, :, None], padding_mode="zeros", align_corners=False)
    assert torch.allclose(ours, theirs[..., 0].transpose(1, 2), atol=1e-6)


def test_soft_argmax_finds_a_sharp_peak() -> None:
    logits = torch.full((1, 42, 4 * 7 * 6), -50.0)
    cell = (2 * 7 + 5) * 6 + 3  # z 2, y 5, x 3
    logits[..., cell] = 50.0
    assert torch.allclose(soft_argmax(logits, 4, 7, 6), torch.tensor([3.0, 5.0, 2.0]).expand(1, 42, 3))
    assert cell_grid(4, 7, 6)[cell].tolist() == [3, 5, 2]


def test_joints_say_where_to_look_and_are_not_moved_by_what_was_seen_there() -> None:
    network = build("er-nano")
    outputs = network(torch.rand(2, 3, 160, 160))
    outputs.rotation6d.square().sum().backward(retain_graph=True)
    assert network.extract.project[0].weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in network.extract.heatmap.parameters())
    outputs.joints_image.sum().backward()
    assert all(parameter.grad is not None for parameter in network.extract.heatmap.parameters())


@pytest.mark.parametrize(("name", "size"), [("er-xs", 128), ("er-s", 112)])
def test_smaller_training_crops_work(name: str, size: int) -> None:
    outputs = build(name)(torch.rand(2, 3, size, size))
    assert outputs.joints_image.shape == (2, 2, 21, 3)
    assert outputs.joints_image[..., :2].max() <= -(-size // 32) - 1
