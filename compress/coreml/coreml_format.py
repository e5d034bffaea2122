"""Core ML packages of an export: converted, proven by evaluating them, measured in their own arithmetic."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from compress.artefact import PARITY_FAILED, PENDING, Artefact, Verdict
from compress.coreml.convert import DEPLOYMENT_TARGET, write_package
from compress.coreml.package import embed, package_sha256
from compress.coreml.package_check import check_package, package_predictor
from compress.material import Material
from training.evaluation.predictions import Predictor

PACKAGE_CROPS = 64


def make(artefact: Artefact, material: Material, made: tuple[Artefact, ...]) -> Artefact:
    """Convert the network and compare the package with it."""
    network, path, precision = material.network, artefact.path, artefact.precision
    oldest = (material.target and material.target.deployment_target) or DEPLOYMENT_TARGET
    package = write_package(network, path, precision, oldest, material.request.image_input)
    parity = check_package(network, path, precision, material.test.crops[:PACKAGE_CROPS], material.hands)
    return replace(
        artefact,
        quantisation={"weights": package.weights, "keep_fp32": list(package.keep_fp32)},
        parity=asdict(parity),
        details={"file": path.name, "bytes": package.bytes, "package": asdict(package)},
        verdict=Verdict(PARITY_FAILED, parity.reasons) if parity.reasons else PENDING,
    )


def open_predictor(artefact: Artefact, material: Material) -> Predictor:
    """The package's program in its own arithmetic: fp16, unless it is an fp32 package."""
    return package_predictor(artefact.path, material.hands)


def write_passport(artefact: Artefact, facts: dict[str, Any]) -> Artefact:
    """Into the model's metadata and beside the package."""
    embed(artefact.path, facts)
    details = {**artefact.details, "sha256": package_sha256(artefact.path)}
    Path(f"{artefact.path}.json").write_text(json.dumps({**facts, **details}, indent=2) + "\n", encoding="utf-8")
    return replace(artefact, details=details)


def describe(facts: dict[str, Any]) -> list[str]:
    """Lines for the screen, of its entry in the report."""
    if "accuracy" not in facts:
        return []
    parity, accuracy = facts["parity"], facts["accuracy"]
    return [
        f"  {facts['file']}, {facts['bytes'] / 1e6:.2f} MB, numeric check on {parity['n_images']} crops: "
        f"{parity['fp32']['vertex_mm']:.4f} mm in fp32, {parity['fp16']['present_hand_mm']:.3f} mm in fp16; "
        f"{accuracy['mpjpe_mm']:.3f} mm MPJPE ({accuracy['delta_vs_fp32_mm']:+.3f})"
    ]
