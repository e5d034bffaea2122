"""The ER network and its variants."""

from __future__ import annotations

from training.network.er import ERNet, Outputs, Taps
from training.network.variants import VARIANTS, Variant, get_variant

__all__ = ["VARIANTS", "ERNet", "Outputs", "Taps", "Variant", "build", "get_variant"]


def build(name: str) -> ERNet:
    """The network of a variant with random weights; a UserError for an unknown name."""
    return ERNet(get_variant(name))
