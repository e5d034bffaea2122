"""Structured pruning: whole channels go where they matter least for what they cost.

Torch-Pruning's dependency graph says which channels of which layers go together. Pruned are the groups of
convolutions, norms and linears whose channels nobody else counts on: hidden widths of bottlenecks and MLPs, and the
convolutional backbones' own streams. Attention widths, token widths and the contract's outputs stay.

Channels go in steps of eight, the width integer kernels are made for, cheapest loss per multiply-accumulate first.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from runtime.errors import UserError
from training.hands.layer import HandLayer
from training.losses import LossWeights, Supervised
from training.network import ERNet, build
from training.network.count import count_gmac
from training.network.widths import differing_widths

STEP = 8  # channels
KEEP = 0.25  # of a group's channels, at least
# Layers that cut or join channels, or keep parameters for each: groups with one of them stay whole.
FIXED = ("Split", "Concat", "Parameter", "LayerNorm")


@dataclass
class Layer:
    """What a convolution or linear costs. Not frozen: widths shrink."""

    positions: float  # output positions times kernel area
    inputs: int
    outputs: int
    depthwise: bool

    @property
    def macs(self) -> float:
        return self.positions * (self.outputs if self.depthwise else self.inputs * self.outputs)


@dataclass
class Group:
    """Channels that go together. Not frozen: `kept` shrinks."""

    name: str  # of the layer that makes them
    handle: Any  # Torch-Pruning's group over all channels
    readers: tuple[str, ...]  # layers that read these channels
    makers: tuple[str, ...]  # layers that make or pass them on
    order: list[int]  # channels, the least important first
    scores: list[float]  # of the channels in that order
    kept: int

    @property
    def removable(self) -> bool:
        return self.kept - STEP >= max(STEP, math.ceil(KEEP * len(self.order)))

    def widen(self, layers: dict[str, Layer], channels: int) -> float:
        """Give it so many channels more, or fewer, here and in its layers; the multiply-accumulates that this takes."""
        touched = [layers[name] for name in {*self.readers, *self.makers} & layers.keys()]
        before = sum(layer.macs for layer in touched)
        self.kept += channels
        for name in self.readers:
            if name in layers and not layers[name].depthwise:
                layers[name].inputs += channels
        for name in self.makers:
            if name in layers:
                layers[name].outputs += channels
        return sum(layer.macs for layer in touched) - before

    def price(self, layers: dict[str, Layer]) -> float:
        """Importance of the next channels to go, for a multiply-accumulate that this saves."""
        gone = len(self.order) - self.kept
        saved = -self.widen(layers, -STEP)
        self.widen(layers, STEP)
        return sum(self.scores[gone : gone + STEP]) / saved


def score_channels(network: ERNet, layer: HandLayer, batches: Iterable[dict[str, Tensor]]) -> list[Tensor]:
    """Importance of the channels of each group, in the order of find_groups, over all layers that make and read them:
    the sum over the batches of |weight x gradient| of the training loss (Molchanov et al., CVPR 2019).
    """
    import torch_pruning  # optional, and slow to import

    scored = copy.deepcopy(network).eval()
    _, groups = find_groups(scored)
    measure = torch_pruning.importance.GroupTaylorImportance(group_reduction="sum", normalizer=None)
    totals = [torch.zeros(len(group.order), dtype=torch.float64) for group in groups]
    objective = Supervised(scored, layer, LossWeights())
    for batch in batches:
        objective.zero_grad(set_to_none=True)
        loss, _ = objective(batch, 0)
        loss.backward()
        for total, group in zip(totals, groups, strict=True):
            total += measure(group.handle).double()
    return totals


def prune_by(network: ERNet, ratio: float, scores: list[Tensor]) -> ERNet:
    """A copy of the network with at least `ratio` of its multiply-accumulates gone, its widths noted.

    UserError for a ratio that the network cannot give.
    """
    pruned = copy.deepcopy(network).eval()
    graph, groups = find_groups(pruned)
    for group, score in zip(groups, scores, strict=True):
        group.order = score.argsort(stable=True).tolist()
        group.scores = score[group.order].tolist()
    choose(pruned, groups, ratio)
    for group in groups:
        if gone := group.order[: len(group.order) - group.kept]:
            maker = pruned.get_submodule(group.name)
            graph.get_pruning_group(maker, group.handle[0].dep.handler, sorted(gone)).prune()
    rebuilt = build(network.variant.name, differing_widths(pruned, build(network.variant.name))).eval()
    rebuilt.load_state_dict(pruned.state_dict())  # as it will be read from disk
    return rebuilt


def find_groups(network: ERNet) -> tuple[Any, list[Group]]:
    """Torch-Pruning's dependency graph, and the groups that may be pruned."""
    import torch_pruning  # optional, and slow to import

    names = {module: name for name, module in network.named_modules()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = torch_pruning.DependencyGraph().build_dependency(
            network,
            _image(network),
            output_transform=lambda outputs: torch.cat([value.flatten() for value in outputs]),
        )
        candidates = list(graph.get_all_groups(root_module_types=[nn.Conv2d, nn.Linear]))
    groups = []
    for handle in candidates:
        targets = [item.dep.target.module for item in handle]
        layers = [(names[item.dep.target.module], item) for item in handle if item.dep.target.module in names]
        readers = tuple(name for name, item in layers if graph.is_in_channel_pruning_fn(item.dep.handler))
        makers = tuple(name for name, item in layers if graph.is_out_channel_pruning_fn(item.dep.handler))
        count = len(handle[0].idxs)
        fixed = any(kind in type(module).__name__ for module in targets for kind in FIXED)
        uneven = len({len(item.idxs) for _, item in layers}) > 1
        if readers and count >= 2 * STEP and not fixed and not uneven:
            order, scores = list(range(count)), [0.0] * count
            groups.append(Group(names[targets[0]], handle, readers, makers, order, scores, count))
    return graph, groups


def choose(network: ERNet, groups: list[Group], ratio: float) -> None:
    """Shrink `kept` of the groups until that share of the multiply-accumulates is saved, and not much more."""
    layers = cost_layers(network)
    shrunk: list[Group] = []
    total, saved = count_gmac(network, network.variant.crop_px) * 1e9, 0.0
    while saved < ratio * total:
        candidates = [group for group in groups if group.removable]
        if not candidates:
            raise UserError(f"this network can lose {saved / total:.0%} of its multiply-accumulates at most")
        shrunk.append(min(candidates, key=lambda group: group.price(layers)))
        saved -= shrunk[-1].widen(layers, -STEP)
    for group in reversed(shrunk):  # the last step may have been a large one: what it made needless comes back
        returned = group.widen(layers, STEP)
        if saved - returned >= ratio * total:
            saved -= returned
        else:
            group.widen(layers, -STEP)


def cost_layers(network: ERNet) -> dict[str, Layer]:
    """Every convolution and linear, from one run."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(_image(network))
    found, flops = {}, counter.get_flop_counts()
    for name, layer in network.named_modules():
        macs = sum(flops.get(f"{type(network).__name__}.{name}", {}).values()) / 2
        if isinstance(layer, nn.Conv2d):
            cost = Layer(1, layer.in_channels, layer.out_channels, layer.groups > 1)
        elif isinstance(layer, nn.Linear):
            cost = Layer(1, layer.in_features, layer.out_features, False)
        else:
            continue
        cost.positions = macs / cost.macs
        found[name] = cost
    return found


def _image(network: ERNet) -> Tensor:
    return torch.zeros(1, 3, *[network.variant.crop_px] * 2)
