"""What all int8 flavours share: which layers of a float file are quantised, and onnxruntime's quantiser.

Quantised are the convolutions and linear layers with constant weights. Softmax, attention products, norms, GELU, the
soft-argmax and the last layers of the regression stay in float: they gain nothing and lose millimetres.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.errors import UserError
from training.quantisation.int8_rules import Affine, matches, module_path

if TYPE_CHECKING:
    from onnx import ModelProto

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
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    activation_type = QuantType.QInt8 if signed else QuantType.QUInt8
    types = {"scale": np.float32, "zero_point": np.int8 if signed else np.uint8}
    known = {
        tensor: [{"quant_type": activation_type} | {key: np.array(getattr(value, key), types[key]) for key in types}]
        for tensor, value in affine.items()
    }
    size = model.graph.input[0].type.tensor_type.shape.dim[-1].dim_value
    # It calibrates even where all ranges are given: one black image is the least it takes.
    images = iter([{"image": np.zeros((1, 3, size, size), np.float32)}])
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))  # it logs advice that this module has already followed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantize_static(
                model,
                target,
                SimpleNamespace(get_next=lambda: next(images, None)),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=reduce_range,
                activation_type=activation_type,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                nodes_to_quantize=list(nodes),
                extra_options={"TensorQuantOverrides": known, **options},
            )
    finally:
        logging.disable(before)
