"""What all int8 flavours share: which layers of a float file are quantised, and onnxruntime's quantiser.

Quantised are the convolutions and linear layers with constant weights. Softmax, attention products, norms, GELU, the
soft-argmax and the last layers of the regression stay in float: they gain nothing and lose millimetres.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto

# Every linear layer has a bias and is a Gemm; what is left as MatMul is attention and the soft-argmax.
QUANTISED_TYPES = ("Conv", "Gemm")
# Modules of torch: where a coordinate is read off or a pose is put together, 8 bits are too few; and TinyViT's first
# two convolutions: int8 moved er-s's vertices by 4.3 mm with them, by 2.6 without, in 10 % more time.
KEEP_FLOAT = re.compile(
    r"extract\.heatmap|regress\.(pose|hand)\.(\d\.)?mlp\.2|regress\.(translation|pooled)\.2|backbone\.patch_embed"
)


@dataclass(frozen=True)
class Affine:
    """An integer q stands for scale * (q - zero_point)."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class QuantizedNodes:
    """What was quantised and what was not."""

    quantized: tuple[str, ...]
    kept_float: tuple[str, ...]


def weighted_nodes(model: ModelProto) -> tuple[str, ...]:
    """Every convolution and linear with constant weights."""
    constants = {tensor.name for tensor in model.graph.initializer}
    nodes = (node for node in model.graph.node if node.op_type in QUANTISED_TYPES)
    return tuple(node.name for node in nodes if any(name in constants for name in node.input[1:]))


def select_nodes(model: ModelProto, flavour: str = "cpu") -> QuantizedNodes:
    """Of these all but KEEP_FLOAT, and for `trt` but the picture's own layer, which costs most there (flavours.py)."""
    names = weighted_nodes(model)
    first = next((node.name for node in model.graph.node if node.op_type == "Conv"), None) if flavour == "trt" else None
    kept = tuple(name for name in names if KEEP_FLOAT.match(module_path(name)) or name == first)
    return QuantizedNodes(tuple(name for name in names if name not in kept), kept)


def weight_max(reduce_range: bool) -> int:
    """Weights become integers from minus to plus this; 7 bits cannot saturate the 16-bit sums of CPUs without VNNI."""
    return 64 if reduce_range else 127


def run_quantizer(
    model: ModelProto,
    target: Path,
    nodes: Sequence[str],
    affine: Mapping[str, Affine],
    signed: bool,
    reduce_range: bool,
    options: Mapping[str, Any],
) -> None:
    """onnxruntime's static quantiser on `nodes`, all ranges given: per-channel int8 weights, per-tensor activations.

    affine: of every activation that is rounded. signed: int8 activations instead of uint8.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import TensorData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import save_and_reload_model_with_shape_infer
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    activation_type = QuantType.QInt8 if signed else QuantType.QUInt8
    types = {"scale": np.float32, "zero_point": np.int8 if signed else np.uint8}
    known = {
        tensor: [{"quant_type": activation_type} | {key: np.array(getattr(value, key), types[key]) for key in types}]
        for tensor, value in affine.items()
    }
    # The quantiser looks for a range of every tensor, and takes the ones above for those that it rounds.
    made = [name for node in model.graph.node for name in node.output]
    any_range = TensorData(lowest=np.float32(0), highest=np.float32(1))
    # What `quantize_static` does after calibration, which takes two thirds of its time even where all ranges are given.
    quantizer = QDQQuantizer(
        save_and_reload_model_with_shape_infer(model),
        per_channel=True,
        reduce_range=reduce_range,
        weight_qType=QuantType.QInt8,
        activation_qType=activation_type,
        tensors_range=dict.fromkeys([*affine, *made], any_range),
        nodes_to_quantize=list(nodes),
        nodes_to_exclude=[],
        op_types_to_quantize=[*QDQRegistry, *QLinearOpsRegistry],
        extra_options={"TensorQuantOverrides": known, **options},
    )
    quantizer.quantize_model()
    quantizer.model.save_model_to_file(str(target))


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
