"""Core ML packages of an export: converted, proven by evaluating them, measured in their own arithmetic."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from compress.artefact import PARITY_FAILED, PENDING, Artefact, Verdict
from compress.coreml import package
from compress.coreml.convert import DEPLOYMENT_TARGET, KEPT_FP32, write_package
from compress.coreml.package_check import EvaluatedPackage, check_package
from compress.material import Material
from runtime.runner import Runner
from training.evaluation.predictions import Predictor, runner_predictor

PACKAGE_CROPS = 64


def make(artefact: Artefact, material: Material, made: tuple[Artefact, ...]) -> Artefact:
    """Convert the network and compare the package with it."""
    network, path, precision = material.network, artefact.path, artefact.precision
    oldest = (material.target and material.target.deployment_target) or DEPLOYMENT_TARGET
    write_package(network, path, precision, oldest, material.request.image_input)
    parity = check_package(network, path, precision, material.test.crops[:PACKAGE_CROPS], material.hands)
    kept = [] if precision == "fp32" else list(KEPT_FP32)
    return replace(
        artefact,
        quantisation={"weights": precision, "keep_fp32": kept},
        parity=asdict(parity),
        details={
            "deployment_target": oldest,
            "image_input": material.request.image_input,
            "leaves_neural_engine": package.leaving(package.read_function(path)),
        },
        verdict=Verdict(PARITY_FAILED, parity.reasons) if parity.reasons else PENDING,
    )


def open_predictor(artefact: Artefact, material: Material) -> Predictor:
    """The package's program in its own arithmetic (fp16, unless it is an fp32 package) in the runner."""
    return runner_predictor(Runner(EvaluatedPackage(artefact.path, material.info(artefact)), material.hands))


def embed(artefact: Artefact, facts: dict[str, Any]) -> dict[str, Any]:
    """Into the model's metadata."""
    package.embed(artefact.path, facts)
    return {"sha256": package.package_sha256(artefact.path)}
