"""Backbones with their official parameter names."""

from __future__ import annotations

from training.network.backbones.mobilenet import MobileNetV4
from training.network.backbones.resnet import ResNet50
from training.network.backbones.tinyvit import TinyViT


def build_backbone(name: str) -> TinyViT | MobileNetV4 | ResNet50:
    """The backbone of that name, randomly initialised."""
    match name:
        case "resnet50":
            return ResNet50()
        case "tinyvit-21m":
            return TinyViT((96, 192, 384, 576), (3, 6, 12, 18))
        case "tinyvit-11m":
            return TinyViT((64, 128, 256, 448), (2, 4, 8, 14))
        case "tinyvit-5m":
            return TinyViT((64, 128, 160, 320), (2, 4, 5, 10))
        case "mobilenetv4-s":
            return MobileNetV4()
        case "mobilenetv4-wide":
            return MobileNetV4(width=2.0, channels=640)
        case "mobilenetv4-nano":
            return MobileNetV4(width=0.7, channels=256)
    raise ValueError(f"no backbone is called {name!r}")
