"""ONNX files: fp32 from the network, the others from the fp32 file, each held against its rules."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from compress import passport
from compress.artefact import BASELINE, Artefact
from compress.check.parity import prove, run_of
from compress.crops import load_crops
from compress.material import Material
from compress.onnx.flavours import quantize, store_weights
from compress.onnx.graph import load_float
from compress.onnx.half import convert_to_fp16
from compress.onnx.lint import lint
from compress.onnx.precision_plan import choose_nodes
from compress.onnx.to_onnx import write_onnx
from runtime.files import file_sha256
from training.evaluation.predictions import Predictor, file_predictor

FP16_CROPS = 32  # that ranges for fp16 are measured on


def make(artefact: Artefact, material: Material, made: tuple[Artefact, ...]) -> Artefact:
    """Write the file and prove it: fp32 against the network, the others against the rules of their flavour."""
    path = artefact.path
    if artefact.label == BASELINE:
        write_onnx(material.network, path)
        artefact = prove(artefact, run_of(path), material)
    else:
        artefact = replace(artefact, parity=made[0].parity)
        artefact = (_make_half if artefact.precision == "fp16" else _make_int8)(artefact, material, made[0].path)
    passport.embed(path, material.facts | {"precision": artefact.precision})  # the runner wants to know what it runs
    return artefact


def open_predictor(artefact: Artefact, material: Material) -> Predictor:
    """The file in the runner."""
    return file_predictor(artefact.path, material.request.hand_model)[0]


def embed(artefact: Artefact, facts: dict[str, Any]) -> dict[str, Any]:
    """Into the file's metadata."""
    opset = passport.embed(artefact.path, facts)
    return {"opset": opset, "sha256": file_sha256(artefact.path)}


def _make_half(artefact: Artefact, material: Material, source: Path) -> Artefact:
    crops = load_crops(material.train, FP16_CROPS, material.network.variant.crop_px, "crops")
    kept = convert_to_fp16(source, artefact.path, crops)
    nodes = [{"node": node, "reason": reason} for node, reason in kept.items()]
    return replace(artefact, quantisation={"kept_fp32": nodes, "checked_on_crops": len(crops)})


def _make_int8(artefact: Artefact, material: Material, source: Path) -> Artefact:
    import onnx

    request, path, flavour = material.request, artefact.path, artefact.flavour
    assert flavour is not None
    done: dict[str, Any] = {"flavour": flavour}
    if artefact.calibrated:
        done["reduce_range"] = material.reduce_range and flavour != "trt"
        nodes = choose_nodes(load_float(source), request.plan, request.variant, flavour)
        crops = material.calibration[1]
        done |= asdict(quantize(source, path, crops, flavour, done["reduce_range"], request.calib_method, nodes))
    else:
        done["stored"] = store_weights(source, path)
    if violations := lint(onnx.load(path), flavour):  # a fault of this program, not of the user
        raise ValueError(f"{path.name} breaks its rules: {violations[0]} (and {len(violations) - 1} more)")
    calibration = material.calibration_facts if artefact.calibrated else None
    return replace(artefact, quantisation=done, calibration=calibration)
