"""Networks narrower than their variant: the widths that differ, as data that a pruned network is rebuilt from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from training.network.er import ERNet

Widths = dict[str, tuple[int, int]]  # inputs and outputs by module path, of those that differ from the variant's


def widths_of(network: ERNet, original: ERNet) -> Widths:
    """Of the modules of `network` that are narrower than the original's."""
    before = {path: shape for path, module in original.named_modules() if (shape := _shape(module))}
    after = {path: shape for path, module in network.named_modules() if (shape := _shape(module))}
    return {path: shape for path, shape in after.items() if shape != before[path]}


def resize(network: ERNet, widths: Mapping[str, Any]) -> None:
    """Give a freshly built network these widths; its weights in them are new, and `network.widths` remembers them.

    ValueError where they are no widths of this network: unknown modules, wider than the variant, not fitting together.
    """
    for path, shape in widths.items():
        try:
            module = network.get_submodule(path)
        except AttributeError:
            raise ValueError(f"widths of {path}, which is no module") from None
        before = _shape(module)
        if before is None or not _are_widths(shape, before):
            raise ValueError(f"{path} cannot have widths {shape}")
        parent, _, name = path.rpartition(".")
        setattr(network.get_submodule(parent), name, _resized(module, *shape))
    network.widths = {path: (int(shape[0]), int(shape[1])) for path, shape in widths.items()}
    was_training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, network.variant.crop_px, network.variant.crop_px))
    except RuntimeError as error:
        raise ValueError("widths that do not fit together") from error
    finally:
        network.train(was_training)


def _shape(module: nn.Module) -> tuple[int, int] | None:
    """Inputs and outputs, None for modules without."""
    match module:
        case nn.Conv2d():
            return module.in_channels, module.out_channels
        case nn.Linear():
            return module.in_features, module.out_features
        case nn.BatchNorm2d():
            return module.num_features, module.num_features
    return None


def _are_widths(shape: Any, before: tuple[int, int]) -> bool:
    if not isinstance(shape, list | tuple) or len(shape) != 2:
        return False
    return all(type(new) is int and 1 <= new <= old for new, old in zip(shape, before, strict=True))


def _resized(module: nn.Module, inputs: int, outputs: int) -> nn.Module:
    match module:
        case nn.Conv2d():
            depthwise = module.groups > 1
            if depthwise and inputs != outputs:
                raise ValueError("a depthwise convolution has as many outputs as inputs")
            return nn.Conv2d(
                inputs,
                outputs,
                module.kernel_size,  # type: ignore[arg-type]
                module.stride,  # type: ignore[arg-type]
                module.padding,  # type: ignore[arg-type]
                groups=inputs if depthwise else 1,
                bias=module.bias is not None,
            )
        case nn.Linear():
            return nn.Linear(inputs, outputs, bias=module.bias is not None)
    if inputs != outputs:
        raise ValueError("a norm has as many outputs as inputs")
    return nn.BatchNorm2d(outputs)
