"""int8 by NNCF, for models of OpenVINO and ONNX files: the same layers, crops and range settings as our own int8.

What stays float is named, operation by operation: left to itself NNCF rounds additions, attention and the last layers
of the regression as well. Measured: docs/openvino.md.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

from compress.crops import Crops
from compress.onnx.calibration import METHODS
from compress.onnx.graph import load_float
from compress.onnx.quantize import QuantizedNodes
from runtime.backends.contract import INPUT_NAME
from runtime.errors import UserError, first_line
from runtime.runner import graph_input
from training.quantisation.int8_rules import QuantizeSpec

_WITHOUT_BIAS = "/WithoutBiases"  # OpenVINO's ending of the operation that an ONNX node becomes, before its addition
_NO_OPERATIONS = ("Constant", "Parameter", "Result")


def quantize_onnx(
    source: Path, target: Path, crops: Crops, spec: QuantizeSpec, method: str, nodes: QuantizedNodes
) -> None:
    """Write the int8 file of a float ONNX file with these nodes."""
    import onnx

    model = load_float(source)
    onnx.save(_quantize(model, [node.name for node in model.graph.node], nodes, crops, spec, method), target)


def quantize_openvino(model: Any, nodes: QuantizedNodes, crops: Crops, spec: QuantizeSpec, method: str) -> Any:
    """Return the int8 model of a float one that OpenVINO read from an ONNX file with these nodes."""
    names = [op.get_friendly_name() for op in model.get_ops() if op.get_type_name() not in _NO_OPERATIONS]
    return _quantize(model, names, nodes, crops, spec, method)


def _quantize(
    model: Any, names: list[str], nodes: QuantizedNodes, crops: Crops, spec: QuantizeSpec, method: str
) -> Any:
    """names: of all operations. int8 activations and weights per channel, symmetric where a range is."""
    try:
        import nncf
        from nncf.quantization import advanced_parameters as advanced
        from nncf.quantization import range_estimator as ranges
    except ImportError as error:
        raise UserError(f"nncf cannot be imported ({first_line(error)}): pip install -e '.[nncf]'") from None
    limits: dict[str, Any] = {}
    if settings := METHODS[method]:  # of each crop the outermost values are left out, then the widest range is taken
        outside = 1 - settings["percentile"] / 100
        for end in ("min", "max"):
            aggregator = ranges.AggregatorType[end.upper()]
            limits[end] = ranges.StatisticsCollectorParameters(
                ranges.StatisticsType.QUANTILE, aggregator, quantile_outlier_prob=outside
            )
    overflow = advanced.OverflowFix.ENABLE if spec.reduce_range else advanced.OverflowFix.DISABLE  # 7 bits, or 8
    quantized = set(nodes.quantized)
    kept = [name for name in names if name.removesuffix(_WITHOUT_BIAS) not in quantized]
    nncf.set_log_level(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # its bars
        warnings.simplefilter("ignore")
        return nncf.quantize(
            model,
            nncf.Dataset(crops, lambda crop: {INPUT_NAME: graph_input(crop)}),
            subset_size=len(crops),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(names=kept),
            advanced_parameters=advanced.AdvancedQuantizationParameters(
                overflow_fix=overflow, activations_range_estimator_params=ranges.RangeEstimatorParameters(**limits)
            ),
        )
