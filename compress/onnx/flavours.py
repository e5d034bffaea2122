"""The flavours of int8: what a runtime computes fast and right differs, so there is a file for each.

- `cpu`: Q/DQ in onnxruntime's placement, which its kernels fuse: biases and the outputs of convolutions, after their
  ReLU, are quantised too, those of linears are not. Activations are uint8, weights int8 per channel, 7 bits where the
  CPU's sums may overflow. Weights of uint8 would be safe from overflow with all 8 bits, but onnxruntime 1.32 has no
  fast kernels for them: er-xs and er-s were no faster than in fp32 (1.04 and 0.99 times), where 7 and 8 bits were
  equally fast (1.69 and 1.42). Ranges are measured on crops, or were trained (training/quantisation/qat.py).
- `trt`: explicit quantisation as TensorRT 8.5 to 11 reads it. Symmetric int8 with zero point 0 everywhere, activations
  per tensor, weights per output channel in 8 bits (tensor cores sum in 32), biases in float, and nothing quantised but
  the inputs and weights of convolutions and linears: TensorRT decides what it fuses. onnxruntime's quantiser measured
  better than NNCF 3.4's (symmetric preset, bias correction, the same nodes and crops): on 400 synthetic test images
  er-xs lost -0.02 and er-s 0.03 mm, NNCF's files 0.04 and 0.08, with uint8 after a ReLU and a scale per channel of
  depthwise inputs, which break the flavour's rules (lint.py).
- `coreml-w8`: smaller and not faster, weights alone as int8. For devices whose int8 gains nothing, where the size of
  the download counts: no activation is rounded, so that the hands are those of the float file on every CPU. Here as
  ONNX; Core ML packages: compress/coreml/weight_storage.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compress.artefact import WEIGHTS_ONLY
from compress.crops import Crops
from compress.onnx.calibration import CalibrationSpec, Ranges, affine_of, calibrate
from compress.onnx.graph import load_float
from compress.onnx.passes import compact, store_as_int8, turn_back_at_load, widen
from compress.onnx.quantize import QuantizedNodes, run_quantizer, select_nodes
from runtime.errors import unknown_name
from training.quantisation.int8_rules import Affine, ModuleRanges, QuantizeSpec, module_path

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

WRITER_VERSION = 2  # of the files of `cpu`: figures that were measured on another's are not theirs
SIGNED_MAX = 127  # of the activations of `trt`


@dataclass(frozen=True)
class Flavour:
    """One way to write an int8 file whose ranges were measured."""

    name: str
    purpose: str
    suffix: str  # of the artefact's name: er-s_224_int8, er-s_224_int8-trt
    # Float file, int8 file, nodes, ranges of rounded_tensors, spec.
    write: Callable[[Path, Path, QuantizedNodes, Ranges, QuantizeSpec], object]
    rounded_tensors: Callable[[ModelProto, QuantizedNodes], tuple[str, ...]]  # activations that become integers


def get_flavour(name: str) -> Flavour:
    """The flavour of that name; a UserError with the nearest where there is none."""
    if name in FLAVOURS:
        return FLAVOURS[name]
    raise unknown_name("flavour", name, FLAVOURS)


def quantize(
    source: Path,
    target: Path,
    crops: Crops,
    spec: QuantizeSpec,
    flavour: str = "cpu",
    calibration: CalibrationSpec | None = None,
    nodes: QuantizedNodes | None = None,
) -> QuantizedNodes:
    """Write the int8 file of a float file, its ranges measured on crops (`calibration`; None: by percentile).

    nodes: a plan's, instead of the spec's patterns.
    """
    chosen, model = get_flavour(flavour), load_float(source)
    nodes = nodes or select_nodes(model, spec.keep_float)
    rounds = chosen.rounded_tensors(model, nodes)
    ranges = measure_ranges(source, crops, flavour, calibration) if rounds else {}
    chosen.write(source, target, nodes, ranges, spec)
    return nodes


def measure_ranges(
    source: Path, crops: Crops, flavour: str = "cpu", calibration: CalibrationSpec | None = None
) -> Ranges:
    """Ranges of all tensors that a flavour could round, so that every choice of nodes has the same, cached ones."""
    model = load_float(source)
    every = select_nodes(model, ())
    # Whether a ReLU is folded depends on the choice: the tensors on both sides of each are measured.
    tensors = set(get_flavour(flavour).rounded_tensors(model, every))
    for node in model.graph.node:
        if node.name in set(every.quantized):
            tensors |= {node.input[0], node.output[0]}
    return calibrate(source, tensors, crops, calibration or CalibrationSpec())


# ---- cpu


def write_cpu(source: Path, target: Path, nodes: QuantizedNodes, ranges: Ranges, spec: QuantizeSpec) -> None:
    """The int8 file of a float file with just these nodes quantised, and what stays float stored as int8."""
    write_cpu_plain(source, target, nodes, ranges, spec)
    _rewrite(target, store_as_int8, compact)


def write_cpu_plain(source: Path, target: Path, nodes: QuantizedNodes, ranges: Ranges, spec: QuantizeSpec) -> None:
    """The same with all that stays float stored as float: what a search compares, where most of a network may be."""
    model = load_float(source)
    affine = {tensor: affine_of(*ranges[tensor]) for tensor in cpu_tensors(model, nodes)}
    _write_cpu(source, target, model, nodes, affine, spec)


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
    _write_cpu(source, target, model, nodes, affine, spec)
    _rewrite(target, compact)
    return nodes


def cpu_tensors(model: ModelProto, nodes: QuantizedNodes) -> tuple[str, ...]:
    """Inputs of quantised nodes, and outputs of convolutions (behind their ReLU)."""
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


def _write_cpu(
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
    _rewrite(target, widen)


# ---- trt


def write_trt(source: Path, target: Path, nodes: QuantizedNodes, ranges: Ranges, spec: QuantizeSpec) -> None:
    """The int8 file of a float file with just these nodes quantised."""
    affine = {}
    for tensor in trt_tensors(load_float(source), nodes):
        largest = max(abs(limit) for limit in ranges[tensor])
        affine[tensor] = Affine(largest / SIGNED_MAX if largest > 0 else 1.0, 0)
    options = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "OpTypesToExcludeOutputQuantization": ["Conv", "MatMul", "Gemm"],
    }
    run_quantizer(source, target, nodes.quantized, affine, signed=True, reduce_range=False, options=options)


def trt_tensors(model: ModelProto, nodes: QuantizedNodes) -> tuple[str, ...]:
    """Inputs of quantised nodes."""
    quantized = set(nodes.quantized)
    return tuple(dict.fromkeys(node.input[0] for node in model.graph.node if node.name in quantized))


# ---- coreml-w8


def store_weights(source: Path, target: Path) -> tuple[str, ...]:
    """Write a float file with its large constants as int8, one scale per output channel; the names of these."""
    import onnx

    model = load_float(source)
    stored = store_as_int8(model)
    turn_back_at_load(model)
    compact(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)
    return stored


def _rewrite(path: Path, *passes: Callable[[ModelProto], object]) -> None:
    """Change a model file in place."""
    import onnx

    model = onnx.load(path)
    for change in passes:
        change(model)
    onnx.save(model, path)


FLAVOURS: Mapping[str, Flavour] = {
    flavour.name: flavour
    for flavour in (
        Flavour("cpu", "onnxruntime on CPUs", "int8", write_cpu, cpu_tensors),
        Flavour("trt", "TensorRT: symmetric, float biases", "int8-trt", write_trt, trt_tensors),
        Flavour(
            WEIGHTS_ONLY,
            "smaller, not faster: weights alone, computed in float",
            "w8",
            lambda source, target, *_: store_weights(source, target),
            lambda *_: (),
        ),
    )
}
