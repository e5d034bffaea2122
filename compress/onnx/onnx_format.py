"""ONNX files: fp32 from the network, the others from the fp32 file, each held against its rules."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from compress.artefact import BASELINE, PARITY_FAILED, PENDING, Artefact, Verdict
from compress.check.parity import check_parity, check_trained_parity
from compress.check.scoring import score
from compress.crops import digest, load_crops
from compress.material import Material, int8_saturates
from compress.onnx.flavours import quantize, store_weights, write_trained
from compress.onnx.graph import load_float
from compress.onnx.half import convert_to_fp16
from compress.onnx.lint import lint
from compress.onnx.quantize import QuantizedNodes
from compress.onnx.to_onnx import write_onnx
from compress.passport import embed
from compress.precision_plan import nodes_of, read_plan
from runtime.errors import UserError
from runtime.files import file_sha256
from training.evaluation.predictions import Predictor, file_predictor, network_predictor
from training.network import ERNet
from training.quantisation.int8_rules import KEEP_FLOAT, QuantizeSpec
from training.quantisation.qat import float_network, int8_spec_of, ranges_of

FP16_CROPS = 32  # that an fp16 file is checked on for overflow
PARITY_CROPS = 64


def make(artefact: Artefact, material: Material, made: tuple[Artefact, ...]) -> Artefact:
    """Write the file and prove it: fp32 against the network, the others against the rules of their flavour."""
    if artefact.label == BASELINE:
        write_onnx(material.network, artefact.path)
        artefact = _with_parity(artefact, material)
    elif artefact.precision == "fp16":
        artefact = _make_half(artefact, material, made[0].path)
    else:
        artefact = _make_int8(artefact, material, made[0].path)
        _check_rules(artefact)
    if artefact.label != BASELINE:
        artefact = replace(artefact, parity=made[0].parity)
    embed(artefact.path, material.facts | {"precision": artefact.precision})  # the runner wants to know what it runs
    return artefact if material.trained is None or not artefact.calibrated else _with_trained_parity(artefact, material)


def open_predictor(artefact: Artefact, material: Material) -> Predictor:
    """The file in the runner."""
    return file_predictor(artefact.path, material.request.hand_model)[0]


def write_passport(artefact: Artefact, facts: dict[str, Any]) -> Artefact:
    """Into the file's metadata and beside it."""
    path = artefact.path
    embed(path, facts)
    details = {"file": path.name, "bytes": path.stat().st_size, "sha256": file_sha256(path)}
    path.with_suffix(".json").write_text(json.dumps(facts | details, indent=2) + "\n", encoding="utf-8")
    return replace(artefact, details=details)


def describe(facts: dict[str, Any]) -> list[str]:
    """Nothing: ONNX files are the report's table."""
    return []


def _make_half(artefact: Artefact, material: Material, source: Path) -> Artefact:
    crops = load_crops(material.train, min(FP16_CROPS, len(material.train)), material.crop_px, "crops")
    kept = convert_to_fp16(source, artefact.path, crops)
    done = {"kept_fp32": [asdict(node) for node in kept], "checked_on_crops": len(crops)}
    return replace(artefact, quantisation=done)


def _make_int8(artefact: Artefact, material: Material, source: Path) -> Artefact:
    """Of trained weights with the ranges they were trained with; of others with measured ones, or none at all."""
    request, flavour = material.request, artefact.flavour
    assert flavour is not None
    if material.trained is not None:
        return replace(artefact, quantisation=write_trained_file(material.trained, artefact.path))
    if not artefact.calibrated:
        return replace(
            artefact, quantisation={"flavour": flavour, "stored": list(store_weights(source, artefact.path))}
        )
    name, crops = material.calibration
    spec = QuantizeSpec(KEEP_FLOAT + request.keep_float, int8_saturates(material.target))
    planned = None if request.plan is None else planned_nodes(request.plan, request.variant, source, flavour)
    nodes = quantize(source, artefact.path, crops, spec, flavour, request.calibration, planned)
    return replace(
        artefact,
        quantisation={"flavour": flavour, **asdict(spec), **asdict(nodes)},
        calibration={"data": name, "n_images": len(crops), "sha256": digest(crops), **asdict(request.calibration)},
    )


def planned_nodes(path: Path, variant: str, source: Path, flavour: str) -> QuantizedNodes:
    """What a precision plan says of the float file's nodes."""
    plan = read_plan(path, variant)
    if plan.flavour != flavour:
        raise UserError(f"{path} was made for flavour {plan.flavour}, the target takes {flavour}")
    return nodes_of(plan, load_float(source))


def write_trained_file(trained: ERNet, path: Path) -> dict[str, Any]:
    """Write the int8 file of a network trained to be int8; what its passport says of it."""
    spec = int8_spec_of(trained)
    assert spec is not None
    source = path.with_suffix(".rounded.onnx")
    write_onnx(float_network(trained, rounded=True), source)
    nodes = write_trained(source, path, ranges_of(trained), spec)
    source.unlink()
    return {"flavour": "cpu", **asdict(spec), **asdict(nodes)}


def _check_rules(artefact: Artefact) -> None:
    """The linter on a file just written: a fault of this program, not of the user."""
    import onnx

    assert artefact.flavour is not None
    if violations := lint(onnx.load(artefact.path), artefact.flavour):
        raise ValueError(f"{artefact.name} breaks its rules: {violations[0]} (and {len(violations) - 1} more)")


def _with_parity(artefact: Artefact, material: Material) -> Artefact:
    parity = check_parity(material.network, artefact.path, material.test.crops[:PARITY_CROPS], material.hands)
    failed = Verdict(PARITY_FAILED, ("the fp32 file does not give the torch network's hands",))
    return replace(artefact, parity={**asdict(parity), "trained": None}, verdict=PENDING if parity.passed else failed)


def _with_trained_parity(artefact: Artefact, material: Material) -> Artefact:
    """Against the network trained for it: without the rounding of activations, and in millimetres with it."""
    assert material.trained is not None
    crops = material.test.crops[:PARITY_CROPS]
    unrounded = check_trained_parity(material.trained, artefact.path, crops, material.hands)
    in_torch = score(network_predictor(material.trained, material.hands), material.test, "of the trained network")
    accuracy = score(open_predictor(artefact, material), material.test, artefact.label)
    trained = {
        "without_rounding": asdict(unrounded),
        "torch_mpjpe_mm": in_torch.mpjpe_mm,
        "mpjpe_difference_mm": accuracy.mpjpe_mm - in_torch.mpjpe_mm,
    }
    failed = Verdict(PARITY_FAILED, ("the int8 file is not the network that was trained to be int8",))
    return replace(
        artefact,
        parity={**artefact.parity, "trained": trained},
        accuracy=accuracy,
        verdict=PENDING if unrounded.passed else failed,
    )
