"""Networks narrower than their variant: the widths that differ, as data that a pruned network is built from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

Widths = dict[str, tuple[int, int]]  # inputs and outputs by module path, of those that differ from the variant's


def differing_widths(network: nn.Module, original: nn.Module) -> Widths:
    """Widths of the modules of `network` that are narrower than the original's."""
    before = dict(original.named_modules())
    shapes = {path: _shape(module) for path, module in network.named_modules()}
    return {path: shape for path, shape in shapes.items() if shape and shape != _shape(before[path])}


def narrow(network: nn.Module, widths: Mapping[str, Any]) -> Widths:
    """Replace modules of a fresh network by narrower ones with new weights; the widths, checked.

    ValueError where they are no widths of this network: unknown modules, or wider than the variant.
    """
    modules = dict(network.named_modules())
    for path, shape in widths.items():
        module = modules.get(path)
        before = _shape(module)
        if module is None or before is None or [type(width) for width in shape] != [int, int]:
            raise ValueError(f"{path} cannot have widths {shape}")
        if not all(1 <= new <= old for new, old in zip(shape, before, strict=True)):
            raise ValueError(f"{path} cannot have widths {shape}")
        network.set_submodule(path, _narrowed(module, *shape))
    return {path: (shape[0], shape[1]) for path, shape in widths.items()}


def _shape(module: nn.Module | None) -> tuple[int, int] | None:
    """Inputs and outputs, None for modules without."""
    match module:
        case nn.Conv2d():
            return module.in_channels, module.out_channels
        case nn.Linear():
            return module.in_features, module.out_features
        case nn.BatchNorm2d():
            return module.num_features, module.num_features
    return None


def _narrowed(module: nn.Module, inputs: int, outputs: int) -> nn.Module:
    """A new module of these widths; ValueError where its kind cannot have them."""
    match module:
        case nn.Linear():
            return nn.Linear(inputs, outputs, bias=module.bias is not None)
        case nn.BatchNorm2d() if inputs == outputs:
            return nn.BatchNorm2d(outputs)
        case nn.Conv2d() if module.groups == 1 or inputs == outputs:
            kind: dict[str, Any] = {name: getattr(module, name) for name in ("kernel_size", "stride", "padding")}
            groups, biased = inputs if module.groups > 1 else 1, module.bias is not None
            return nn.Conv2d(inputs, outputs, groups=groups, bias=biased, **kind)
    raise ValueError("a depthwise convolution and a norm have as many outputs as inputs")
