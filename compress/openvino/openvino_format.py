"""OpenVINO models of an export: read from the fp32 ONNX file, written by OpenVINO, proven by running them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from compress.artefact import PARITY_FAILED, Artefact, Verdict
from compress.check.parity import compare
from compress.material import Material
from compress.onnx.graph import load_float
from compress.onnx.precision_plan import choose_nodes
from compress.onnx.quantize import KEEP_FLOAT, QuantizeSpec
from compress.openvino.nncf_quantizer import quantize_openvino
from runtime.backends.contract import METADATA_KEY
from runtime.backends.openvino_engine import OpenVINOBackend, import_openvino, read_model
from runtime.files import file_sha256
from training.evaluation.predictions import Predictor, file_predictor

PARITY_CROPS = 64


def make(artefact: Artefact, material: Material, made: tuple[Artefact, ...]) -> Artefact:
    """Write the model and compare it with the network; only the fp32 one must be within the tolerance of a copy."""
    path, source = artefact.path, made[0].path
    model = read_model(source)
    if artefact.precision == "int8":
        artefact, model = _quantize(artefact, model, source, material)
    del model.rt_info["framework"]  # the ONNX file's metadata
    _save(model, path, material.facts | {"precision": artefact.precision}, halve=artefact.precision == "fp16")
    backend = OpenVINOBackend(path, "cpu", None)
    parity = compare(material.network, backend.run, material.test.crops[:PARITY_CROPS], material.hands)
    artefact = replace(artefact, parity=asdict(parity))
    if artefact.precision == "fp32" and not parity.passed:
        artefact = replace(artefact, verdict=Verdict(PARITY_FAILED, ("the fp32 model is not the network",)))
    return artefact


def open_predictor(artefact: Artefact, material: Material) -> Predictor:
    """The model in the runner, by OpenVINO."""
    return file_predictor(artefact.path, material.request.hand_model)[0]


def embed(artefact: Artefact, facts: dict[str, Any]) -> dict[str, Any]:
    """Into the model."""
    path = artefact.path
    _save(read_model(path), path, facts)
    return {"sha256": file_sha256(path), "weights_sha256": file_sha256(path.with_suffix(".bin"))}


def _quantize(artefact: Artefact, model: Any, source: Path, material: Material) -> tuple[Artefact, Any]:
    request, crops = material.request, material.calibration[1]
    spec = QuantizeSpec((*KEEP_FLOAT, *request.keep_float), material.reduce_range)
    nodes = choose_nodes(load_float(source), spec.keep_float, request.plan, request.variant, "cpu")
    model = quantize_openvino(model, nodes, crops, spec, request.calib_method)
    done = {"quantizer": "nncf", **asdict(spec), **asdict(nodes)}
    return replace(artefact, quantisation=done, calibration=material.calibration_facts), model


def _save(model: Any, path: Path, facts: dict[str, Any], halve: bool = False) -> None:
    """Write `.xml` and `.bin`, the passport inside; halve: constants as fp16, computed with in fp32."""
    model.set_rt_info(json.dumps(facts), [METADATA_KEY])
    import_openvino().save_model(model, path, compress_to_fp16=halve)
