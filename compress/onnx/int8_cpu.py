"""Flavour `cpu`: Q/DQ in onnxruntime's placement, which its kernels fuse: biases and the outputs of convolutions, after
their ReLU, are quantised too, those of linears are not. Activations are uint8, weights int8 per channel, 7 bits where
the CPU's sums may overflow. Ranges are measured on crops, or were trained (training/qat.py).

Weights of uint8 would be safe from overflow with all 8 bits, but onnxruntime 1.32 has no fast kernels for them: er-xs
and er-s were no faster than in fp32 (1.04 and 0.99 times), where 7 and 8 bits were equally fast (1.69 and 1.42).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from compress.onnx import lint_rules as rules
from compress.onnx.calibration import Ranges, affine_of
from compress.onnx.first_layer import widen
from compress.onnx.quantize import QuantizedNodes, load_float, run_quantizer, select_nodes
from compress.onnx.storage import compact, compact_exactly, rewrite
from training.int8_rules import Affine, ModuleRanges, QuantizeSpec, module_path

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

RULES = (
    *rules.COMMON,
    rules.opset(17, 20),
    rules.activations("uint8"),
    rules.weights_per_channel,
    rules.biases_fit,
    rules.float_operators(("MatMul", "Softmax", "LayerNormalization")),
)


def write(source: Path, target: Path, nodes: QuantizedNodes, ranges: Ranges, spec: QuantizeSpec) -> None:
    """The int8 file of a float file with just these nodes quantised; `ranges` holds their rounded_tensors."""
    write_plain(source, target, nodes, ranges, spec)
    rewrite(target, compact)


def write_plain(source: Path, target: Path, nodes: QuantizedNodes, ranges: Ranges, spec: QuantizeSpec) -> None:
    """The same with all that stays float stored as float: what a search compares, where most of a network may be."""
    model = load_float(source)
    affine = {tensor: affine_of(*ranges[tensor]) for tensor in rounded_tensors(model, nodes)}
    _write(source, target, model, nodes, affine, spec)


def write_trained(source: Path, target: Path, ranges: Mapping[str, ModuleRanges], spec: QuantizeSpec) -> QuantizedNodes:
    """Write the int8 file of a float file whose ranges were trained; `ranges` by torch module.

    Raises ValueError where the file's quantised modules are not those of the ranges: a fault of the program.
    """
    model = load_float(source)
    nodes = select_nodes(model, spec.keep_float)
    paths = {name: module_path(name) for name in nodes.quantized}
    if set(paths.values()) != set(ranges):
        raise ValueError(f"not the modules that were trained: {sorted(set(paths.values()) ^ set(ranges))}")
    relu_of = {node.input[0]: node.output[0] for node in folded_relus(model, nodes)}
    affine: dict[str, Affine] = {}
    for node in model.graph.node:
        if node.name not in paths:
            continue
        trained = ranges[paths[node.name]]
        tensors = {node.input[0]: trained.input}
        if trained.output is not None:
            tensors[relu_of.get(node.output[0], node.output[0])] = trained.output
        for tensor, value in tensors.items():
            if affine.setdefault(tensor, value) != value:
                raise ValueError(f"two ranges were trained for tensor {tensor}")
    _write(source, target, model, nodes, affine, spec)
    rewrite(target, compact_exactly)
    return nodes


def rounded_tensors(model: ModelProto, nodes: QuantizedNodes) -> tuple[str, ...]:
    """Activations that become integers: inputs of quantised nodes, outputs of convolutions (behind their ReLU)."""
    relu_of = {node.input[0]: node.output[0] for node in folded_relus(model, nodes)}
    quantized = set(nodes.quantized)
    tensors: dict[str, None] = {}  # in order, once
    for node in model.graph.node:
        if node.name in quantized:
            tensors[node.input[0]] = None
            if node.op_type == "Conv":
                tensors[relu_of.get(node.output[0], node.output[0])] = None
    return tuple(tensors)


def folded_relus(model: ModelProto, nodes: QuantizedNodes) -> list[NodeProto]:
    """ReLUs of quantised convolutions: integers that end at 0 need none, and a rounding before it costs accuracy."""
    readers = Counter(name for node in model.graph.node for name in node.input)
    made = {n.output[0] for n in model.graph.node if n.op_type == "Conv" and n.name in nodes.quantized}
    return [n for n in model.graph.node if n.op_type == "Relu" and n.input[0] in made and readers[n.input[0]] == 1]


def _write(
    source: Path,
    target: Path,
    model: ModelProto,
    nodes: QuantizedNodes,
    affine: Mapping[str, Affine],
    spec: QuantizeSpec,
) -> None:
    # A linear's output goes to norms, GELU and residuals, all in float: onnxruntime's QGemm writes float for nothing,
    # which saves two roundings and keeps GELU one node.
    options = {"OpTypesToExcludeOutputQuantization": ["Gemm"]}
    names = [*nodes.quantized, *(node.name for node in folded_relus(model, nodes))]
    run_quantizer(source, target, names, affine, signed=False, reduce_range=spec.reduce_range, options=options)
    rewrite(target, widen)
