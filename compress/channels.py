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
from training.losses import LossWeights
from training.network import ERNet, build
from training.network.count import count_gmac
from training.network.widths import differing_widths
from training.objective import Supervised

STEP = 8  # channels
KEEP = 0.25  # of a group's channels, at least


@dataclass
class Group:
    """Channels that go together. Not frozen: `kept` shrinks."""

    name: str  # of the layer that makes them
    handle: Any  # Torch-Pruning's group over all channels
    order: list[int]  # channels, the least important first
    scores: list[float]  # of the channels in that order
    kept: int
    inputs_of: tuple[str, ...]  # layers that read these channels
    outputs_of: tuple[str, ...]  # layers that make or pass them on

    @property
    def removable(self) -> bool:
        return self.kept - STEP >= max(STEP, math.ceil(KEEP * len(self.order)))

    def step_score(self) -> float:
        """Importance of the next channels to go."""
        gone = len(self.order) - self.kept
        return sum(self.scores[gone : gone + STEP])


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
    widths = differing_widths(pruned, build(network.variant.name))
    rebuilt = build(network.variant.name, widths).eval()  # as it will be read from disk
    rebuilt.load_state_dict(pruned.state_dict())
    return rebuilt


def find_groups(network: ERNet) -> tuple[Any, list[Group]]:
    """Torch-Pruning's dependency graph, and the groups that may be pruned."""
    import torch_pruning  # optional, and slow to import

    crop_px = network.variant.crop_px
    names = {module: name for name, module in network.named_modules()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = torch_pruning.DependencyGraph().build_dependency(
            network,
            torch.zeros(1, 3, crop_px, crop_px),
            output_transform=lambda outputs: torch.cat([value.flatten() for value in outputs]),
        )
        candidates = list(graph.get_all_groups(root_module_types=[nn.Conv2d, nn.Linear]))
    groups = []
    for handle in candidates:
        members = [(item.dep.target.module, item.dep.handler) for item in handle]
        kinds = {type(module).__name__ for module, _ in members}
        if any(fixed in kind for kind in kinds for fixed in ("Split", "Concat", "Parameter", "LayerNorm")):
            continue
        layers = [(names[module], module, handler) for module, handler in members if module in names]
        readers = [name for name, module, handler in layers if graph.is_in_channel_pruning_fn(handler)]
        makers = [name for name, module, handler in layers if graph.is_out_channel_pruning_fn(handler)]
        count = len(handle[0].idxs)
        uneven = len({len(item.idxs) for item in handle if item.dep.target.module in names}) > 1
        if not readers or count < 2 * STEP or uneven:
            continue
        name = names[handle[0].dep.target.module]
        groups.append(Group(name, handle, list(range(count)), [0.0] * count, count, tuple(readers), tuple(makers)))
    return graph, groups


def choose(network: ERNet, groups: list[Group], ratio: float) -> None:
    """Shrink `kept` of the groups until that share of the multiply-accumulates is saved, and not much more."""
    costs = layer_costs(network)
    shrunk: list[Group] = []
    total, saved = count_gmac(network, network.variant.crop_px) * 1e9, 0.0
    wanted = ratio * total
    while saved < wanted:
        candidates = [group for group in groups if group.removable]
        if not candidates:
            raise UserError(f"this network can lose {saved / total:.0%} of its multiply-accumulates at most")
        group = min(candidates, key=lambda group: group.step_score() / step_cost(costs, group))
        saved += step_cost(costs, group)
        change_width(costs, group, -STEP)
        shrunk.append(group)
    for group in reversed(shrunk):  # the last step may have been a large one: what it made needless comes back
        change_width(costs, group, STEP)
        if saved - (returned := step_cost(costs, group)) >= wanted:
            saved -= returned
        else:
            change_width(costs, group, -STEP)


@dataclass
class LayerCost:
    """Multiply-accumulates of one layer: positions x inputs x outputs (depthwise: x one of them)."""

    positions: float  # output positions times kernel area
    inputs: int
    outputs: int
    depthwise: bool

    @property
    def total(self) -> float:
        return self.positions * (self.outputs if self.depthwise else self.inputs * self.outputs)


def layer_costs(network: ERNet) -> dict[str, LayerCost]:
    """Of every convolution and linear, from one run."""
    crop_px = network.variant.crop_px
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, crop_px, crop_px))
    costs, flops = {}, counter.get_flop_counts()
    for name, layer in network.named_modules():
        macs = sum(flops.get(f"{type(network).__name__}.{name}", {}).values()) / 2
        if isinstance(layer, nn.Conv2d):
            inputs, outputs, depthwise = layer.in_channels, layer.out_channels, layer.groups > 1
        elif isinstance(layer, nn.Linear):
            inputs, outputs, depthwise = layer.in_features, layer.out_features, False
        else:
            continue
        costs[name] = LayerCost(macs / outputs / (1 if depthwise else inputs), inputs, outputs, depthwise)
    return costs


def step_cost(costs: dict[str, LayerCost], group: Group) -> float:
    """What a step of this group saves, as things stand."""
    layers = {*group.inputs_of, *group.outputs_of} & costs.keys()
    trial = {name: copy.copy(costs[name]) for name in layers}
    change_width(trial, copy.copy(group), -STEP)
    return sum(costs[name].total - trial[name].total for name in layers)


def change_width(costs: dict[str, LayerCost], group: Group, channels: int) -> None:
    """Give a group so many channels more, or fewer, in its own count and in the costs."""
    group.kept += channels
    for name in group.inputs_of:
        if name in costs and not costs[name].depthwise:
            costs[name].inputs += channels
    for name in group.outputs_of:
        if name in costs:
            costs[name].outputs += channels
