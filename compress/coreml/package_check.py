"""The numeric check of a package: its program, evaluated here, against the torch network it came from, as stored.

Two comparisons, each with one cause: fp32 arithmetic (is it the same program?), and the program's own fp16 arithmetic
(what does rounding results cost?). What rounding weights costs is judged by accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compress.check.mesh_distance import MeshDistance
from compress.check.parity import compare
from compress.coreml.convert import as_stored
from compress.coreml.evaluator import Evaluator, NumericFault
from compress.crops import Crops
from runtime.backends.contract import INPUT_NAME, ModelInfo, Outputs
from runtime.hand.hand_model import HandPair
from runtime.hand.hands import Floats
from training.network import ERNet

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


class EvaluatedPackage:
    """A package as a backend of the runner: its program in its own arithmetic, on any machine."""

    provider = "evaluator"

    def __init__(self, path: Path, info: ModelInfo) -> None:
        self.info = info
        self._evaluator = Evaluator(path)

    def run(self, image: Floats) -> Outputs:
        """See Backend."""
        return self._evaluator({INPUT_NAME: image}, "fp16")

    def close(self) -> None:
        """Nothing is held."""


def check_package(network: ERNet, path: Path, precision: str, crops: Crops, hands: HandPair) -> PackageParity:
    """Evaluate the package on every crop in both arithmetics; see the module."""
    evaluator, stored = Evaluator(path), as_stored(network, precision)
    try:
        exact = compare(stored, lambda image: evaluator({INPUT_NAME: image}, "fp32"), crops, hands)
        return PackageParity(
            len(crops), exact, compare(stored, lambda image: evaluator({INPUT_NAME: image}, "fp16"), crops, hands)
        )
    except NumericFault as problem:
        return PackageParity(len(crops), fault=str(problem))
