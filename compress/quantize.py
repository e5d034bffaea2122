"""Static int8 for CPUs: Q/DQ in onnxruntime's placement, which its kernels fuse: biases and the outputs of
convolutions, after their ReLU, are quantised too, those of linears are not.

Quantised are the convolutions and linear layers with constant weights. Softmax, attention products, norms, GELU, the
soft-argmax and the last layers of the regression stay in float: they gain nothing and lose millimetres. Ranges are
measured on crops, or were trained (training/qat.py).
"""

from __future__ import annotations

import logging
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compress.calibration import CalibrationSpec, Ranges, affine_of, calibrate
from compress.crops import Crops
from compress.storage import compact, compact_exactly, rewrite
from runtime.errors import UserError
from training.flavour import Affine, ModuleRanges, QuantizeSpec, matches, module_path

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

# Every linear layer has a bias and is a Gemm; what is left as MatMul is attention and the soft-argmax.
QUANTISED_TYPES = ("Conv", "Gemm")


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
            found = any(matches((pattern,), name, module_path(name)) for name in weighted)
        except re.error as error:
            raise UserError(f"--keep-float: {error.pattern!r} is not a regular expression ({error})") from error
        if not found:
            raise UserError(f"--keep-float {pattern!r} matches none of the {len(weighted)} quantisable nodes")
    kept = [name for name in weighted if matches(keep_float, name, module_path(name))]
    quantized = [name for name in weighted if name not in set(kept)]
    if not quantized:
        raise UserError("--keep-float leaves nothing to quantise: export with --fp32 instead")
    return QuantizedNodes(tuple(quantized), tuple(kept))


def quantize_cpu(
    source: Path,
    target: Path,
    crops: Crops,
    spec: QuantizeSpec,
    calibration: CalibrationSpec | None = None,
    label: str = "calibration",
) -> QuantizedNodes:
    """Write the int8 file of a float file, its ranges measured on crops (min-max, unless `calibration` says more)."""
    model = _load_float(source)
    nodes = select_nodes(model, spec.keep_float)
    # All that could be quantised, so that every choice of nodes has the same, cached ranges.
    tensors = rounded_tensors(model, select_nodes(model, ()))
    ranges = calibrate(source, tensors, crops, calibration or CalibrationSpec(), label)
    quantize_nodes(source, target, nodes, ranges, spec)
    return nodes


def quantize_nodes(source: Path, target: Path, nodes: QuantizedNodes, ranges: Ranges, spec: QuantizeSpec) -> None:
    """Write the int8 file of a float file with just these nodes quantised; `ranges` holds their rounded_tensors."""
    model = _load_float(source)
    affine = {tensor: affine_of(*ranges[tensor]) for tensor in rounded_tensors(model, nodes)}
    _quantize(source, target, model, nodes, spec, affine)
    rewrite(target, compact)


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


def quantize_trained(
    source: Path, target: Path, ranges: Mapping[str, ModuleRanges], spec: QuantizeSpec
) -> QuantizedNodes:
    """Write the int8 file of a float file whose ranges were trained; `ranges` by torch module.

    Raises ValueError where the file's quantised modules are not those of the ranges: a fault of the program.
    """
    model = _load_float(source)
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
    _quantize(source, target, model, nodes, spec, affine)
    rewrite(target, compact_exactly)
    return nodes


def folded_relus(model: ModelProto, nodes: QuantizedNodes) -> list[NodeProto]:
    """ReLUs of quantised convolutions: integers that end at 0 need none, and a rounding before it costs accuracy."""
    readers = Counter(name for node in model.graph.node for name in node.input)
    made = {n.output[0] for n in model.graph.node if n.op_type == "Conv" and n.name in nodes.quantized}
    return [n for n in model.graph.node if n.op_type == "Relu" and n.input[0] in made and readers[n.input[0]] == 1]


def _load_float(source: Path) -> ModelProto:
    import onnx

    model = onnx.load(source)
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        raise UserError(f"{source} is quantised already: give the float file")
    return model


def _quantize(
    source: Path,
    target: Path,
    model: ModelProto,
    nodes: QuantizedNodes,
    spec: QuantizeSpec,
    affine: Mapping[str, Affine],
) -> None:
    """`affine`: of every rounded tensor."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    known = {
        tensor: [
            {
                "quant_type": QuantType.QUInt8,
                "scale": np.array(value.scale, np.float32),
                "zero_point": np.array(value.zero_point, np.uint8),
            }
        ]
        for tensor, value in affine.items()
    }
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        quantize_static(
            source,
            target,
            _OneImage(model),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=spec.reduce_range,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_quantize=[*nodes.quantized, *(node.name for node in folded_relus(model, nodes))],
            extra_options={
                # A linear's output goes to norms, GELU and residuals, all in float: onnxruntime's QGemm writes float
                # for nothing, which saves two roundings and keeps GELU one node.
                "OpTypesToExcludeOutputQuantization": ["Gemm"],
                "TensorQuantOverrides": known,
            },
        )


class _OneImage:
    """onnxruntime's quantiser calibrates even where all ranges are given: one black image is the least it takes."""

    def __init__(self, model: ModelProto) -> None:
        size = model.graph.input[0].type.tensor_type.shape.dim[-1].dim_value
        self.image: NDArray[np.float32] | None = np.zeros((1, 3, size, size), np.float32)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The image, then None."""
        image, self.image = self.image, None
        return None if image is None else {"image": image}


class _quiet:
    """onnxruntime's quantiser logs advice at warning level that this module has already followed."""

    def __enter__(self) -> None:
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(logging.NOTSET)
