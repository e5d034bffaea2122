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

from runtime.errors import UserError

if TYPE_CHECKING:
    from onnx import ModelProto

# Every linear layer has a bias and is a Gemm; what is left as MatMul is attention and the soft-argmax.
QUANTISED_TYPES = ("Conv", "Gemm")
# Where a coordinate is read off or a pose is put together, 8 bits are too few.
KEEP_FLOAT = (r"^extract\.heatmap", r"^regress\.(pose|hand)\.(\d\.)?mlp\.2", r"^regress\.(translation|pooled)\.2")


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
    """An integer q stands for scale * (q - zero_point)."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class QuantizedNodes:
    """What was quantised and what was not."""

    quantized: tuple[str, ...]
    kept_float: tuple[str, ...]


def select_nodes(model: ModelProto, keep_float: Sequence[str]) -> QuantizedNodes:
    """Split the weighted convolutions and linears by the patterns; a pattern that matches nothing is a UserError."""
    constants = {tensor.name for tensor in model.graph.initializer}
    weighted = [
        node.name
        for node in model.graph.node
        if node.op_type in QUANTISED_TYPES and any(name in constants for name in node.input[1:])
    ]
    for pattern in keep_float:
        try:
            found = any(_matches((pattern,), name, module_path(name)) for name in weighted)
        except re.error as error:
            raise UserError(f"--keep-float: {error.pattern!r} is not a regular expression ({error})") from error
        if not found:
            raise UserError(f"--keep-float {pattern!r} matches none of the {len(weighted)} quantisable nodes")
    kept = [name for name in weighted if _matches(keep_float, name, module_path(name))]
    quantized = [name for name in weighted if name not in set(kept)]
    if not quantized:
        raise UserError("--keep-float leaves nothing to quantise: export with --fp32 instead")
    return QuantizedNodes(tuple(quantized), tuple(kept))


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


def _matches(patterns: Iterable[str], *names: str) -> bool:
    """Whether one of the regular expressions is found in one of the names."""
    return any(re.search(pattern, name) for pattern in patterns for name in names)
