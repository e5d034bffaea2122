"""What all int8 flavours share: which layers of a float file are quantised, and onnxruntime's quantiser.

Quantised are the convolutions and linear layers with constant weights. Softmax, attention products, norms, GELU, the
soft-argmax and the last layers of the regression stay in float: they gain nothing and lose millimetres.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compress.onnx.graph import Graph, attribute

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

# Every linear layer has a bias and is a Gemm; what is left as MatMul is attention and the soft-argmax.
QUANTISED_TYPES = ("Conv", "Gemm")
# Modules of torch: where a coordinate is read off or a pose is put together, 8 bits are too few; and TinyViT's first
# two convolutions: int8 moved er-s's vertices by 4.3 mm with them, by 2.6 without, in 10 % more time.
KEEP_FLOAT = re.compile(
    r"extract\.heatmap|regress\.(pose|hand)\.(\d\.)?mlp\.2|regress\.(translation|pooled)\.2|backbone\.patch_embed"
)

# So narrow the picture's own layer takes no more time in float, where er-c's of 64 channels takes 8 % of the network's.
# With it in int8 er-xs's vertices moved by 4.7 mm (4,000 images), without by 3.4.
STEM_CHANNELS = 32
WEIGHT_MAX = 127


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
    """Of these all but KEEP_FLOAT, and the picture's own layer where that costs `cpu` no time, or for `trt`."""
    names = weighted_nodes(model)
    kept = {name for name in names if KEEP_FLOAT.match(module_path(name))}
    if first := next((node for node in model.graph.node if node.op_type == "Conv"), None):
        (channels,) = (tensor.dims[0] for tensor in model.graph.initializer if tensor.name == first.input[1])
        if flavour == "trt" or (flavour == "cpu" and channels <= STEM_CHANNELS):
            kept.add(first.name)
    return QuantizedNodes(
        tuple(name for name in names if name not in kept), tuple(name for name in names if name in kept)
    )


def channel_axis(node: NodeProto) -> int:
    """Where the output channels of its weight lie."""
    return 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else 1


def weight_scales(model: ModelProto, nodes: Iterable[str], reduce_range: bool) -> dict[str, NDArray[np.float32]]:
    """Per node what the integer 1 stands for in each output channel.

    reduce_range: for CPUs without VNNI, which add the products of two neighbouring inputs, uint8 times int8, in 16
    bits. The two weights' sum keeps to WEIGHT_MAX, too, so that nothing overflows, as with 7 bits of each; but most
    have a smaller neighbour, and steps are two thirds of those. Depthwise products are added in 32 bits everywhere.
    """
    graph, quantized, scales = Graph(model), set(nodes), {}
    for node in graph.nodes:
        if node.name in quantized:
            weight = np.moveaxis(graph.value(node, 1), channel_axis(node), 0)
            rows = np.moveaxis(weight, 1, -1).reshape(len(weight), -1, weight.shape[1])  # outputs, places, inputs
            largest = np.abs(rows).max(axis=(1, 2))
            if reduce_range and rows.shape[2] > 1:
                even = np.pad(rows, ((0, 0), (0, 0), (0, rows.shape[2] % 2)))
                largest = np.maximum(largest, np.abs(even[..., ::2] + even[..., 1::2]).max(axis=(1, 2)))
            scales[node.name] = (np.where(largest > 0, largest, 1) / WEIGHT_MAX).astype(np.float32)
    return scales


def run_quantizer(
    model: ModelProto,
    target: Path,
    nodes: Sequence[str],
    affine: Mapping[str, Affine],
    scales: Mapping[str, NDArray[np.float32]],
    signed: bool,
    options: Mapping[str, Any],
) -> None:
    """onnxruntime's static quantiser on `nodes`, all ranges given: per-channel int8 weights, per-tensor activations.

    affine: of every activation that is rounded. scales: of weights, by their node. signed: int8 activations, not uint8.
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
    for node in model.graph.node:
        if node.name in scales:
            own = {"quant_type": QuantType.QInt8, "axis": channel_axis(node), "zero_point": np.array(0, np.int8)}
            known[node.input[1]] = [own | {"scale": scale} for scale in scales[node.name]]
    # The quantiser looks for a range of every tensor, and takes the ones above for those that it rounds.
    made = [name for node in model.graph.node for name in node.output]
    any_range = TensorData(lowest=np.float32(0), highest=np.float32(1))
    # What `quantize_static` does after calibration, which takes two thirds of its time even where all ranges are given.
    quantizer = QDQQuantizer(
        save_and_reload_model_with_shape_infer(model),
        per_channel=True,
        reduce_range=False,
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
