"""Core ML packages of an export: converted, proven by evaluating them, measured in their own arithmetic.

A package is held twice against the torch network it came from, as stored, each with one cause of a difference: in fp32
arithmetic (is it the same program?), and in the program's own fp16 arithmetic (what does rounding results cost?). What
rounding weights costs is judged by accuracy.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

from compress.artefact import PARITY_FAILED, PENDING, Artefact, Verdict
from compress.check.mesh_distance import MeshDistance
from compress.check.parity import compare
from compress.coreml import package
from compress.coreml.convert import DEPLOYMENT_TARGET, KEPT_FP32, as_stored, write_package
from compress.coreml.evaluator import Arithmetic, Evaluator, NumericFault
from compress.crops import Crops
from compress.material import Material
from runtime.backends.backend import Backend
from runtime.backends.contract import INPUT_NAME, Outputs
from runtime.hand.hand_model import HandPair
from runtime.hand.hands import Floats
from runtime.runner import Runner
from training.evaluation.predictions import Predictor, runner_predictor
from training.network import ERNet

PACKAGE_CROPS = 64
# Of hands that are steady; of others in proportion (mesh_distance.how_unsteady).
FP32_TOLERANCE_MM = 0.05  # of any vertex
FP16_TOLERANCE_MM = 0.5  # of a hand that is there, over its vertices


@dataclass(frozen=True)
class PackageParity:
    """Both comparisons; None where an operation's result was no number, which `fault` names."""

    n_images: int
    fp32: MeshDistance | None = None
    fp16: MeshDistance | None = None
    fault: str | None = None

    @property
    def reasons(self) -> tuple[str, ...]:
        """Return why the package fails; empty where it is within the tolerances."""
        if self.fp32 is None or self.fp16 is None:
            return (self.fault or "nothing was compared",)
        found = []
        if not self.fp32.vertex_mm <= FP32_TOLERANCE_MM:
            found.append(f"the program is not the network: {self.fp32.vertex_mm:.3f} mm apart in fp32")
        if not self.fp16.present_hand_mm <= FP16_TOLERANCE_MM:
            found.append(f"fp16 moves a hand by {self.fp16.present_hand_mm:.3f} mm")
        return tuple(found)


def check_package(network: ERNet, path: Path, precision: str, crops: Crops, hands: HandPair) -> PackageParity:
    """Evaluate the package on every crop in both arithmetics."""
    evaluator, stored = Evaluator(path), as_stored(network, precision)
    try:
        exact, rounded = (
            compare(stored, partial(_run, evaluator, arithmetic), crops, hands, shake=True)
            for arithmetic in get_args(Arithmetic)
        )
        return PackageParity(len(crops), exact, rounded)
    except NumericFault as problem:
        return PackageParity(len(crops), fault=str(problem))


def _run(evaluator: Evaluator, arithmetic: Arithmetic, image: Floats) -> Outputs:
    return evaluator({INPUT_NAME: image}, arithmetic)


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
    path, infer = artefact.path, partial(_run, Evaluator(artefact.path), "fp16")
    backend = Backend("evaluator", path, material.info(artefact), "evaluator", infer)
    return runner_predictor(Runner(backend, material.hands))


def embed(artefact: Artefact, facts: dict[str, Any]) -> dict[str, Any]:
    """Into the model's metadata."""
    package.embed(artefact.path, facts)
    return {"sha256": package.package_sha256(artefact.path)}
