"""The ER network and its variants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.network.er import ERNet
from training.network.extract import Extracted
from training.network.regress import Outputs
from training.network.variants import VARIANTS, Variant, get_variant

__all__ = ["VARIANTS", "ERNet", "Extracted", "Outputs", "Variant", "build", "get_variant"]


def build(name: str, widths: Mapping[str, Any] | None = None) -> ERNet:
    """The network of a variant with random weights, narrower where it is pruned (see ERNet).

    A UserError for an unknown name, a ValueError for widths that do not fit.
    """
    return ERNet(get_variant(name), widths)
