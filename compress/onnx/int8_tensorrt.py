"""Flavour `trt`: explicit quantisation as TensorRT 8.5 to 11 reads it.

Symmetric int8 with zero point 0 everywhere, activations per tensor, weights per output channel, biases in float, and
nothing quantised but the inputs and weights of convolutions and linears: TensorRT decides what it fuses.

Made with onnxruntime's quantiser, which measured better than NNCF 3.4's (symmetric preset, bias correction, the same
nodes and crops): on 400 synthetic test images er-xs lost -0.02 and er-s 0.03 mm, NNCF's files 0.04 and 0.08. Those also
break the rules below: uint8 after a ReLU, a scale per channel of depthwise inputs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from compress.onnx import lint_rules as rules
from compress.onnx.calibration import Ranges
from compress.onnx.quantize import QuantizedNodes, load_float, run_quantizer
from training.int8_rules import Affine, QuantizeSpec

if TYPE_CHECKING:
    from onnx import ModelProto

ACTIVATION_MAX = 127
RULES = (
    *rules.COMMON,
    rules.opset(17, 18),  # int8 fails on TensorRT 10.3 from 19 on (TensorRT #4797)
    rules.activations("int8"),
    rules.zero_points_are_zero,
    rules.weights_per_channel,
    rules.biases_are_float,
    rules.float_operators(("MatMul", "Softmax", "LayerNormalization")),
)


def write(source: Path, target: Path, nodes: QuantizedNodes, ranges: Ranges, spec: QuantizeSpec) -> None:
    """The int8 file of a float file with just these nodes quantised; `ranges` holds their rounded_tensors.

    Weights have all 8 bits, whatever the spec says: tensor cores sum in 32 bits.
    """
    affine = {}
    for tensor in rounded_tensors(load_float(source), nodes):
        largest = max(abs(limit) for limit in ranges[tensor])
        affine[tensor] = Affine(largest / ACTIVATION_MAX if largest > 0 else 1.0, 0)
    options = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "OpTypesToExcludeOutputQuantization": ["Conv", "MatMul", "Gemm"],
    }
    run_quantizer(source, target, nodes.quantized, affine, signed=True, reduce_range=False, options=options)


def rounded_tensors(model: ModelProto, nodes: QuantizedNodes) -> tuple[str, ...]:
    """Activations that become integers: inputs of quantised nodes."""
    quantized = set(nodes.quantized)
    return tuple(dict.fromkeys(node.input[0] for node in model.graph.node if node.name in quantized))
