"""The flavours of int8: what a runtime computes fast and right differs, so there is a file for each.

- `cpu`: Q/DQ in onnxruntime's placement, which its kernels fuse: biases and the outputs of convolutions, after their
  ReLU, are quantised too, those of linears are not. Activations are uint8, weights int8 per channel, smaller where the
  CPU's sums may overflow (weight_scales). uint8 weights would not, but onnxruntime 1.32 has no fast kernels for them:
  er-xs ran 1.04 times as fast as in fp32, instead of 1.69.
- `trt`: explicit quantisation as TensorRT 8.5 to 11 reads it. Symmetric int8 with zero point 0 everywhere, activations
  per tensor, weights per output channel in 8 bits (tensor cores sum in 32), biases in float, and nothing quantised but
  the inputs and weights of convolutions and linears: TensorRT decides what it fuses. The first convolution stays float:
  er-xs lost 0.36 mm of 1,000 synthetic test images with it, 0.15 without. NNCF 3.4's ONNX broke the rules (lint.py).
- `coreml-w8`: smaller and not faster, weights alone as int8, for downloads. No activation is rounded: the hands are
  those of the float file on every CPU. Core ML packages: compress/coreml/weight_storage.py.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from compress.artefact import WEIGHTS_ONLY
from compress.crops import Crops
from compress.onnx.calibration import DEFAULT_METHOD, Seen, affine_of, calibrate
from compress.onnx.graph import Graph, load_float
from compress.onnx.passes import Scales, compact, correct_biases, one_gelu, own_biases, store_as_int8, widen
from compress.onnx.quantize import Affine, QuantizedNodes, run_quantizer, select_nodes, weight_scales, weighted_nodes

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

FLAVOURS = {"cpu": "int8", "trt": "int8-trt", WEIGHTS_ONLY: "w8"}  # in names of files
SIGNED_MAX = 127  # of the activations of `trt`
GELU_LOW = -2.5  # GELU makes -0.016 of it and less of what is below: a range that goes there wastes steps

Pass = Callable[["ModelProto"], object]  # changes a model


def quantize(
    source: Path,
    target: Path,
    crops: Crops,
    flavour: str = "cpu",
    reduce_range: bool = True,
    method: str = DEFAULT_METHOD,
    nodes: QuantizedNodes | None = None,
) -> QuantizedNodes:
    """Write the int8 file, for `cpu` or `trt`, of a float file, its ranges measured on crops; nodes: a plan's."""
    nodes = nodes or select_nodes(load_float(source), flavour)
    seen = look_inside(source, crops, method)
    if flavour == "trt":
        write_trt(source, target, nodes, seen)
    else:
        write_cpu(source, target, nodes, seen, reduce_range, store_as_int8, compact)
    return nodes


def look_inside(source: Path, crops: Crops, method: str = DEFAULT_METHOD) -> dict[str, Seen]:
    """Calibrate all tensors that could be rounded, so that every choice of nodes has the same, cached ones."""
    model = load_float(source)
    every = QuantizedNodes(weighted_nodes(model), ())
    # Whether a ReLU is folded depends on the choice: the tensors on both sides of each are measured.
    tensors = set(cpu_tensors(model, every))
    for node in model.graph.node:
        if node.name in every.quantized:
            tensors |= {node.input[0], node.output[0]}
    return calibrate(source, tensors, crops, method)


def write_cpu(
    source: Path, target: Path, nodes: QuantizedNodes, seen: dict[str, Seen], reduce_range: bool, *passes: Pass
) -> None:
    """The int8 file of a float file with just these nodes quantised; without passes, the rest is stored as float."""
    import onnx

    # A linear's output goes to norms, GELU and residuals, all in float: onnxruntime's QGemm writes float for nothing,
    # which saves two roundings and keeps GELU one node.
    options = {"OpTypesToExcludeOutputQuantization": ["Gemm"]}
    plain, scales = _corrected(source, nodes, seen, reduce_range)
    plain = one_gelu(plain)
    readers, affine = Graph(plain).readers, {}
    for tensor in cpu_tensors(plain, nodes):
        lowest = GELU_LOW if all(node.op_type == "Gelu" for node in readers[tensor]) else -math.inf
        affine[tensor] = affine_of(max(seen[tensor].low, lowest), seen[tensor].high)
    names = [*nodes.quantized, *(node.name for node in folded_relus(plain, nodes))]
    run_quantizer(plain, target, names, affine, scales, signed=False, options=options)
    model = onnx.load(target)
    for change in (widen, *passes):
        change(model)
    onnx.save(model, target)


def _corrected(
    source: Path, nodes: QuantizedNodes, seen: dict[str, Seen], reduce_range: bool
) -> tuple[ModelProto, dict[str, Scales]]:
    """The float file with the biases that its rounded weights want, and the scales of these."""
    model = load_float(source)
    own_biases(model, nodes.quantized)
    scales = weight_scales(model, nodes.quantized, reduce_range)
    correct_biases(model, scales, {name: entry.means for name, entry in seen.items()})
    return model, scales


def cpu_tensors(model: ModelProto, nodes: QuantizedNodes) -> tuple[str, ...]:
    """Inputs of quantised nodes, and outputs of convolutions (behind their ReLU)."""
    relu_of = {node.input[0]: node.output[0] for node in folded_relus(model, nodes)}
    tensors: dict[str, None] = {}  # in order, once
    for node in model.graph.node:
        if node.name in nodes.quantized:
            tensors[node.input[0]] = None
            if node.op_type == "Conv":
                tensors[relu_of.get(node.output[0], node.output[0])] = None
    return tuple(tensors)


def folded_relus(model: ModelProto, nodes: QuantizedNodes) -> list[NodeProto]:
    """ReLUs of quantised convolutions: integers that end at 0 need none, and a rounding before it costs accuracy."""
    readers = Counter(name for node in model.graph.node for name in node.input)
    made = {n.output[0] for n in model.graph.node if n.op_type == "Conv" and n.name in nodes.quantized}
    return [n for n in model.graph.node if n.op_type == "Relu" and n.input[0] in made and readers[n.input[0]] == 1]


def write_trt(source: Path, target: Path, nodes: QuantizedNodes, seen: dict[str, Seen]) -> None:
    """The int8 file of a float file with just these nodes quantised: their inputs are rounded, around 0."""
    plain, scales = _corrected(source, nodes, seen, reduce_range=False)
    affine = {}
    for node in plain.graph.node:
        if node.name in nodes.quantized:
            largest = max(-seen[node.input[0]].low, seen[node.input[0]].high)
            affine[node.input[0]] = Affine(largest / SIGNED_MAX if largest > 0 else 1.0, 0)
    options = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "OpTypesToExcludeOutputQuantization": ["Conv", "MatMul", "Gemm"],
    }
    run_quantizer(plain, target, nodes.quantized, affine, scales, signed=True, options=options)


def store_weights(source: Path, target: Path) -> tuple[str, ...]:
    """Write a float file with its large constants as int8, one scale per output channel; the names of these."""
    import onnx

    model = load_float(source)
    stored = store_as_int8(model)
    compact(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)
    return stored
