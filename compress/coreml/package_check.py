"""The numeric check of a package: its program, evaluated here, against the torch network it came from, as stored.

Two comparisons, each with one cause: fp32 arithmetic (is it the same program?), and the program's own fp16 arithmetic
(what does rounding results cost?). What rounding weights costs is judged by accuracy.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.overrides import TorchFunctionMode
from tqdm import tqdm

from compress.check.mesh_distance import MeshDistance, mesh_distance, skinned
from compress.coreml.convert import as_stored
from compress.coreml.evaluator import Evaluator, NumericFault
from compress.crops import Crops
from runtime.backends.contract import INPUT_NAME, Outputs
from runtime.hand.hand_model import HandPair
from runtime.runner import graph_input
from training.evaluation.predictions import Images, Predictor
from training.evaluation.protocols import HandBatch
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


class Fp16Numbers(TorchFunctionMode):
    """Rounds the numbers that torch functions are given beside tensors: attention scales, epsilons.

    Packages hold them in fp16, too; unrounded, er-s lies 0.005 mm from its package instead of 0.0001.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {key: _rounded(value) for key, value in (kwargs or {}).items()}
        return func(*map(_rounded, args), **given)


def _rounded(value: Any) -> Any:
    return float(np.float16(value)) if isinstance(value, float) else value


def check_package(network: ERNet, path: Path, precision: str, crops: Crops, hands: HandPair) -> PackageParity:
    """Evaluate the package on every crop in both arithmetics; see the module."""
    evaluator, stored = Evaluator(path), as_stored(network, precision)
    expected: list[Outputs] = []
    exact: list[Outputs] = []
    half: list[Outputs] = []
    try:
        for crop in tqdm(crops, desc="numeric check", unit="img", leave=False):
            with torch.inference_mode(), nullcontext() if precision == "fp32" else Fp16Numbers():
                outputs = stored(torch.from_numpy(graph_input(crop)))._asdict()
            expected.append({name: value.numpy() for name, value in outputs.items()})
            image = package_input(evaluator, crop)
            exact.append(evaluator(image, "fp32"))
            half.append(evaluator(image, "fp16"))
    except NumericFault as problem:
        return PackageParity(len(crops), fault=str(problem))
    crop_px, pair = network.variant.crop_px, HandPair(*hands)
    fp32, fp16 = (mesh_distance(expected, found, crop_px, pair) for found in (exact, half))
    return PackageParity(len(crops), fp32, fp16)


def package_predictor(path: Path, hands: HandPair) -> Predictor:
    """Return predictions of a package in its own arithmetic, for training.evaluate."""
    evaluator, pair = Evaluator(path), HandPair(*hands)

    def predict(images: Images) -> HandBatch:
        crops = [(image * 255).round().astype(np.uint8) for image in images]
        found = [evaluator(package_input(evaluator, crop), "fp16") for crop in crops]
        meshes = [skinned(outputs, pair) for outputs in found]
        cameras = np.stack([outputs["camera"][0] for outputs in found])[:, :, None]
        joints = np.stack([joints for _, joints in meshes])
        return HandBatch(
            joints=joints,
            vertices=np.stack([vertices for vertices, _ in meshes]),
            relative_translation=np.stack([outputs["relative_translation"][0] for outputs in found]),
            present=np.stack([outputs["presence"][0] > 0 for outputs in found]),
            points=cameras[..., :1] * joints[..., :2] + cameras[..., 1:],
        )

    return predict


def package_input(evaluator: Evaluator, crop: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Turn a crop (S, S, 3) uint8 RGB into the program's input: a picture's pixels where it takes a picture."""
    image = graph_input(crop)
    return {INPUT_NAME: np.rint(image * 255) if INPUT_NAME in evaluator.images else image}
