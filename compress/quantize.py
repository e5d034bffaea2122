"""Static int8 for CPUs: Q/DQ in onnxruntime's placement, which its kernels fuse: biases and the outputs of
convolutions are quantised too, those of linears are not.

Quantised are the convolutions and linear layers with constant weights. Softmax, attention products, norms, GELU, the
soft-argmax and the last layers of the regression stay in float: they gain nothing and lose millimetres.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compress.crops import Crops
from runtime.errors import UserError
from runtime.runner import graph_input

if TYPE_CHECKING:
    from onnx import ModelProto
    from tqdm import tqdm

# Every linear layer has a bias and is a Gemm; what is left as MatMul is attention and the soft-argmax.
QUANTISED_TYPES = ("Conv", "Gemm")
# Where a coordinate is read off or a pose is put together, 8 bits are too few.
KEEP_FLOAT = (r"^/extract/heatmap", r"^/pose\.\d/mlp/mlp\.2", r"^/hand\.\d/mlp/mlp\.2", r"^/translation/translation\.2")


@dataclass(frozen=True)
class QuantizeSpec:
    """What int8 flavour to write.

    reduce_range: 7-bit weights, which cannot saturate the 16-bit sums of x86 CPUs without VNNI.
    """

    keep_float: tuple[str, ...] = KEEP_FLOAT  # regular expressions over node names
    reduce_range: bool = True


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
    try:
        patterns = [re.compile(pattern) for pattern in keep_float]
    except re.error as error:
        raise UserError(f"--keep-float: {error.pattern!r} is not a regular expression ({error})") from error
    for pattern in patterns:
        if not any(pattern.search(name) for name in weighted):
            raise UserError(f"--keep-float {pattern.pattern!r} matches none of the {len(weighted)} quantisable nodes")
    kept = [name for name in weighted if any(pattern.search(name) for pattern in patterns)]
    quantized = [name for name in weighted if name not in set(kept)]
    if not quantized:
        raise UserError("--keep-float leaves nothing to quantise: export with --fp32 instead")
    return QuantizedNodes(tuple(quantized), tuple(kept))


def quantize_cpu(
    source: Path, target: Path, crops: Crops, spec: QuantizeSpec, label: str = "calibration"
) -> QuantizedNodes:
    """Write the int8 file of a float file, calibrated on crops (min-max), with a progress bar."""
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from tqdm import tqdm

    model = onnx.load(source)
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        raise UserError(f"{source} is quantised already: give the float file")
    nodes = select_nodes(model, spec.keep_float)
    with tqdm(total=len(crops), desc=label, unit="img", leave=False) as bar, warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        quantize_static(
            source,
            target,
            _CropReader(crops, bar),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=spec.reduce_range,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_quantize=list(nodes.quantized),
            # A linear's output goes to norms, GELU and residuals, all in float: onnxruntime's QGemm writes float for
            # nothing, which saves two roundings and keeps GELU one node.
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )
    return nodes


class _CropReader:
    """Feeds crops to onnxruntime's calibration, which asks for `get_next` and nothing else."""

    def __init__(self, crops: Crops, bar: tqdm[None]) -> None:
        self.crops, self.bar = iter(crops), bar

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next image as the graph's input, None at the end."""
        crop = next(self.crops, None)
        if crop is None:
            return None
        self.bar.update()
        return {"image": graph_input(crop)}


class _quiet:
    """onnxruntime's quantiser logs advice at warning level that this module has already followed."""

    def __enter__(self) -> None:
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(logging.NOTSET)
