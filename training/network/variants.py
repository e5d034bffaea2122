"""The variants, as data: backbone, crop, head widths, budgets."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.errors import unknown_name


@dataclass(frozen=True)
class Variant:
    """One network size. Budgets are upper bounds that a test holds."""

    name: str
    backbone: str
    crop_px: int
    dim: int  # channels of a hand's map and of every token in the head
    heads: int
    mlp_ratio: float
    token_dim: int  # channels a joint token keeps when the rotations are regressed
    hidden: int  # of the rotations' regressor
    params_budget_m: float
    gmac_budget: float
    purpose: str

    @property
    def map_size(self) -> int:
        """Side of the backbone's map, and the number of depth bins."""
        return self.crop_px // 32


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("er", "resnet50", 256, 768, 12, 4.0, 256, 1024, 110, 12, "the full network: the teacher"),
        Variant("er-l", "tinyvit-21m", 224, 320, 10, 2.0, 64, 320, 26, 4.55, "server, AGX; the smaller teacher"),
        Variant("er-m", "tinyvit-11m", 224, 240, 8, 2.0, 64, 288, 14, 2.2, "Orin NX"),
        Variant("er-s", "tinyvit-5m", 224, 176, 4, 2.0, 48, 224, 7.0, 1.34, "the default; Orin Nano, recent phones"),
        Variant("er-c", "mobilenetv4-wide", 224, 176, 4, 2.0, 48, 224, 7.0, 0.80, "er-s's size for int8 on any CPU"),
        Variant("er-xs", "mobilenetv4-s", 224, 128, 4, 2.0, 48, 256, 3.0, 0.26, "int8 first: Raspberry Pi 5, phones"),
        Variant("er-nano", "mobilenetv4-nano", 160, 80, 4, 2.0, 20, 96, 1.0, 0.08, "the smallest that is still useful"),
    )
}


def get_variant(name: str) -> Variant:
    """The variant of that name; a UserError with the list and the nearest name where there is none."""
    if name in VARIANTS:
        return VARIANTS[name]
    raise unknown_name("variant", name, VARIANTS)
