"""Parameters and multiply-accumulates of a network."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters_m(network: nn.Module) -> float:
    """Millions of trainable parameters."""
    return sum(p.numel() for p in network.parameters()) / 1e6


def count_gmac(network: nn.Module, input_px: int) -> float:
    """Multiply-accumulates of one image, in units of 1e9: convolutions, linears and attention products."""
    parameter = next(network.parameters())
    image = torch.zeros(1, 3, input_px, input_px, device=parameter.device, dtype=parameter.dtype)
    was_training = network.training
    network.eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(image)
    network.train(was_training)
    return counter.get_total_flops() / 2e9
