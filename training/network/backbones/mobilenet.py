"""MobileNetV4-Conv-Small kind backbone (Qin et al., ECCV 2024): BN and ReLU only, what int8 likes best.

The last 1x1 convolution (to 1280, after pooling) is absent, the one before it is narrower: a spatial map needs neither.
"""

from __future__ import annotations

from torch import Tensor, nn

from training.network.blocks import ConvBN


def round_channels(channels: float) -> int:
    """Channels to the nearest multiple of 8, the width integer kernels are made for."""
    return max(8, int(channels / 8 + 0.5) * 8)


class ConvBNReLU(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__(ConvBN(inputs, outputs, kernel, stride, groups), nn.ReLU())


class UniversalInvertedBottleneck(nn.Module):
    """[depthwise `start`] -> expand -> [depthwise `middle`] -> project, residual where shapes allow; 0: without."""

    def __init__(self, inputs: int, outputs: int, start: int, middle: int, stride: int, expansion: float) -> None:
        super().__init__()
        hidden = round_channels(inputs * expansion)
        layers: list[nn.Module] = []
        if start:  # strided only where no middle convolution can be
            layers.append(ConvBN(inputs, inputs, start, 1 if middle else stride, groups=inputs))
        layers.append(ConvBNReLU(inputs, hidden))
        if middle:
            layers.append(ConvBNReLU(hidden, hidden, middle, stride, groups=hidden))
        layers.append(ConvBN(hidden, outputs))
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


# (outputs, start kernel, middle kernel, stride, expansion) of stages 3 and 4, table 11 of the paper
_BOTTLENECKS = (
    (96, 5, 5, 2, 3.0),
    (96, 0, 3, 1, 2.0),
    (96, 0, 3, 1, 2.0),
    (96, 0, 3, 1, 2.0),
    (96, 0, 3, 1, 2.0),
    (96, 3, 0, 1, 4.0),
    (128, 3, 3, 2, 6.0),
    (128, 5, 5, 1, 4.0),
    (128, 0, 5, 1, 4.0),
    (128, 0, 5, 1, 3.0),
    (128, 0, 3, 1, 4.0),
    (128, 0, 3, 1, 4.0),
)


class MobileNetV4(nn.Module):
    """(B, 3, S, S) -> (B, channels, S/32, S/32)."""

    def __init__(self, width: float = 1.0, channels: int = 480) -> None:
        super().__init__()
        self.channels = channels
        c32, c64, c96 = (round_channels(c * width) for c in (32, 64, 96))
        layers: list[nn.Module] = [
            ConvBNReLU(3, c32, 3, 2),
            ConvBNReLU(c32, c32, 3, 2),
            ConvBNReLU(c32, c32),
            ConvBNReLU(c32, c96, 3, 2),
            ConvBNReLU(c96, c64),
        ]
        inputs = c64
        for base, start, middle, stride, expansion in _BOTTLENECKS:
            outputs = round_channels(base * width)
            layers.append(UniversalInvertedBottleneck(inputs, outputs, start, middle, stride, expansion))
            inputs = outputs
        layers.append(ConvBNReLU(inputs, channels))
        self.layers = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)
