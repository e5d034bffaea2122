"""Backbones with their official parameter names."""

from __future__ import annotations

from collections.abc import Callable

from training.network.backbones.mobilenet import MobileNetV4
from training.network.backbones.resnet import ResNet50
from training.network.backbones.tinyvit import TinyViT

_BACKBONES: dict[str, Callable[[], TinyViT | MobileNetV4 | ResNet50]] = {
    "resnet50": ResNet50,
    "tinyvit-21m": lambda: TinyViT((96, 192, 384, 576), (3, 6, 12, 18)),
    "tinyvit-11m": lambda: TinyViT((64, 128, 256, 448), (2, 4, 8, 14)),
    "tinyvit-5m": lambda: TinyViT((64, 128, 160, 320), (2, 4, 5, 10)),
    "mobilenetv4-s": MobileNetV4,
    "mobilenetv4-wide": lambda: MobileNetV4(width=2.0, channels=640),
    "mobilenetv4-nano": lambda: MobileNetV4(width=0.7, channels=256),
}


def build_backbone(name: str) -> TinyViT | MobileNetV4 | ResNet50:
    """The backbone of that name, randomly initialised."""
    return _BACKBONES[name]()
