"""The int8 flavour: what of a network becomes int8, and how. The exporter and training for int8 both read it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# Where a coordinate is read off or a pose is put together, 8 bits are too few.
KEEP_FLOAT = (r"^extract\.heatmap", r"^regress\.(pose|hand)\.(\d\.)?mlp\.2", r"^regress\.(translation|pooled)\.2")
ACTIVATION_MAX = 255  # activations are uint8 with a zero point


@dataclass(frozen=True)
class QuantizeSpec:
    """What int8 flavour to write.

    reduce_range: 7-bit weights, which cannot saturate the 16-bit sums of x86 CPUs without VNNI.
    """

    keep_float: tuple[str, ...] = KEEP_FLOAT  # regular expressions over torch module paths, or ONNX node names
    reduce_range: bool = True

    @property
    def weight_max(self) -> int:
        """Weights become integers from -weight_max to weight_max, per output channel."""
        return 64 if self.reduce_range else 127


@dataclass(frozen=True)
class Affine:
    """uint8 q stands for scale * (q - zero_point)."""

    scale: float
    zero_point: int

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest value."""
        return -self.zero_point * self.scale, (ACTIVATION_MAX - self.zero_point) * self.scale


@dataclass(frozen=True)
class ModuleRanges:
    """Of a module's tensors; `output` (after the ReLU, where one follows) where a quantised convolution makes it."""

    input: Affine
    output: Affine | None


def matches(patterns: Iterable[str], *names: str) -> bool:
    """Whether one of the regular expressions is found in one of the names."""
    return any(re.search(pattern, name) for pattern in patterns for name in names)


def module_path(node: str) -> str:
    """The torch module an ONNX node comes from: '/regress/pose.0/mlp/mlp.2/Gemm' -> 'regress.pose.0.mlp.2'.

    A numbered child carries its container's name there, hence the repetitions; the operator comes last, with the fusion
    that made it.
    """
    path: list[str] = []
    for part in re.sub(r"/(Conv|Gemm|MatMul)(/.*)?$", "", node).strip("/").split("/"):
        if path and part.startswith(path[-1] + "."):
            path.pop()
        path.append(part)
    return ".".join(path)
