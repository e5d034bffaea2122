"""OpenVINO models of an export: read from the fp32 ONNX file, written by OpenVINO, proven by running them."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from compress.artefact import Artefact
from compress.check.parity import prove
from compress.material import Material
from compress.onnx.graph import load_float
from compress.onnx.precision_plan import choose_nodes
from runtime.backends.backend import import_engine
from runtime.backends.contract import INPUT_NAME, METADATA_KEY
from runtime.backends.opening import open_backend
from runtime.backends.openvino_engine import read_model
from runtime.errors import UserError, first_line
from runtime.files import file_sha256
from runtime.runner import graph_input
from training.evaluation.predictions import Predictor, file_predictor

OUTSIDE = 1e-4  # share of a crop's values that NNCF leaves out at each end
_WITHOUT_BIAS = "/WithoutBiases"  # OpenVINO's ending of the operation that an ONNX node becomes, before its addition
_NO_OPERATIONS = ("Constant", "Parameter", "Result")


def make(artefact: Artefact, material: Material, made: tuple[Artefact, ...]) -> Artefact:
    """Write the model and compare it with the network; only the fp32 one must be within the tolerance of a copy."""
    path, source = artefact.path, made[0].path
    model = read_model(source)
    if artefact.precision == "int8":
        artefact, model = quantize(artefact, model, source, material)
    del model.rt_info["framework"]  # the ONNX file's metadata
    _save(model, path, material.facts | {"precision": artefact.precision}, halve=artefact.precision == "fp16")
    return prove(artefact, open_backend(path, "cpu").run, material)


def open_predictor(artefact: Artefact, material: Material) -> Predictor:
    """The model in the runner, by OpenVINO."""
    return file_predictor(artefact.path, material.request.hand_model)[0]


def embed(artefact: Artefact, facts: dict[str, Any]) -> dict[str, Any]:
    """Into the model."""
    path = artefact.path
    _save(read_model(path), path, facts)
    return {"sha256": file_sha256(path), "weights_sha256": file_sha256(path.with_suffix(".bin"))}


def quantize(artefact: Artefact, model: Any, source: Path, material: Material) -> tuple[Artefact, Any]:
    """The int8 model by NNCF: the same layers and crops as our own int8, ranges symmetric.

    What stays float is named, operation by operation: left to itself NNCF rounds additions, attention and the last
    layers of the regression as well. Measured: docs/openvino.md.
    """
    try:
        import nncf
        from nncf.quantization import advanced_parameters as advanced
        from nncf.quantization import range_estimator as ranges
    except ImportError as error:
        raise UserError(f"nncf cannot be imported ({first_line(error)}): pip install -e '.[openvino]'") from None
    request, crops = material.request, material.calibration[1]
    nodes = choose_nodes(load_float(source), request.plan, request.variant, str(artefact.flavour))
    limits: dict[str, Any] = {}
    if request.calib_method != "minmax":  # of each crop the outermost values are left out, then the widest taken
        for end in ("min", "max"):
            aggregator = ranges.AggregatorType[end.upper()]
            limits[end] = ranges.StatisticsCollectorParameters(
                ranges.StatisticsType.QUANTILE, aggregator, quantile_outlier_prob=OUTSIDE
            )
    overflow = advanced.OverflowFix.ENABLE if material.reduce_range else advanced.OverflowFix.DISABLE  # 7 bits, or 8
    names = [op.get_friendly_name() for op in model.get_ops() if op.get_type_name() not in _NO_OPERATIONS]
    kept = [name for name in names if name.removesuffix(_WITHOUT_BIAS) not in nodes.quantized]
    nncf.set_log_level(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # its bars
        warnings.simplefilter("ignore")
        quantized = nncf.quantize(
            model,
            nncf.Dataset(crops, lambda crop: {INPUT_NAME: graph_input(crop)}),
            subset_size=len(crops),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(names=kept),
            advanced_parameters=advanced.AdvancedQuantizationParameters(
                overflow_fix=overflow, activations_range_estimator_params=ranges.RangeEstimatorParameters(**limits)
            ),
        )
    done = {"quantizer": "nncf", "reduce_range": material.reduce_range, **asdict(nodes)}
    return replace(artefact, quantisation=done, calibration=material.calibration_facts), quantized


def _save(model: Any, path: Path, facts: dict[str, Any], halve: bool = False) -> None:
    """Write `.xml` and `.bin`, the passport inside; halve: constants as fp16, computed with in fp32."""
    model.set_rt_info(json.dumps(facts), [METADATA_KEY])
    import_engine("openvino").save_model(model, path, compress_to_fp16=halve)
