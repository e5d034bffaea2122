"""The numeric check of a package: its program, evaluated here, against the torch network it came from.

Three comparisons, each with one cause: fp32 arithmetic with the network as stored (is it the same program?), the
program's own fp16 arithmetic with the same (what does rounding results cost?), and the network as stored with the
network as given (what does rounding weights cost?). The first two have tolerances; the third is judged by accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.overrides import TorchFunctionMode
from tqdm import tqdm

from compress.coreml.convert import IMAGE_SCALE, as_stored
from compress.coreml.evaluator import Evaluator, NumericFault
from compress.crops import Crops
from runtime.backends.contract import INPUT_NAME
from runtime.hand.hand_model import HandModel, HandPair
from runtime.hand.rotations import matrix_from_6d
from runtime.runner import graph_input
from training.evaluation.predictions import Images, Predictor
from training.evaluation.protocols import HandBatch
from training.network import ERNet

Outputs = dict[str, NDArray[np.float32]]
FP32_TOLERANCE_MM = 0.05  # of any vertex
FP16_TOLERANCE_MM = 0.5  # of a hand that is there, over its vertices


@dataclass(frozen=True)
class Difference:
    """Between two networks over all crops. Hands that the first does not see are left out of `present`."""

    vertex_mm: float  # any vertex of any hand
    projection_px: float  # any joint
    present_vertex_mm: float  # any vertex of a hand that is there
    present_hand_mm: float  # mean over the vertices of the worst hand that is there
    mean_mm: float  # over vertices and hands that are there


@dataclass(frozen=True)
class PackageParity:
    """The three comparisons."""

    fp32: Difference | None
    fp16: Difference | None
    weights: Difference | None
    largest: float  # number that fp16 had to hold, of 65504
    largest_in: str  # the operation
    fault: str | None  # an operation whose result was no number
    n_images: int

    @property
    def passed(self) -> bool:
        """Within the tolerances, every number finite."""
        return not self.reasons

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why not."""
        if self.fault is not None or self.fp32 is None or self.fp16 is None:
            return (self.fault or "nothing was compared",)
        found = []
        if not self.fp32.vertex_mm <= FP32_TOLERANCE_MM:
            found.append(f"the program is not the network: {self.fp32.vertex_mm:.3f} mm apart in fp32")
        if not self.fp16.present_hand_mm <= FP16_TOLERANCE_MM:
            found.append(f"fp16 moves a hand by {self.fp16.present_hand_mm:.3f} mm")
        return tuple(found)


def check_package(
    network: ERNet, path: Path, precision: str, crops: Crops, hands: tuple[HandModel, HandModel]
) -> PackageParity:
    """Evaluate the package on every crop in both arithmetics; see the module."""
    evaluator, stored = Evaluator(path), as_stored(network, precision)
    given: list[Outputs] = []
    expected: list[Outputs] = []
    exact: list[Outputs] = []
    half: list[Outputs] = []
    fault = None
    try:
        for crop in tqdm(crops, desc="numeric check", unit="img", leave=False):
            given.append(_torch_outputs(network, crop))
            expected.append(_torch_outputs(stored, crop, fp16_numbers=stored is not network))
            image = package_input(evaluator, crop)
            exact.append(evaluator(image, "fp32"))
            half.append(evaluator(image, "fp16"))
    except NumericFault as problem:
        fault = str(problem)
    pair, crop_px = HandPair(*hands), network.variant.crop_px
    return PackageParity(
        fp32=difference(expected, exact, crop_px, pair),
        fp16=difference(expected, half, crop_px, pair),
        weights=difference(given, expected, crop_px, pair),
        largest=evaluator.peak.value,
        largest_in=evaluator.peak.operation,
        fault=fault,
        n_images=len(crops),
    )


def difference(
    expected: Sequence[Outputs], actual: Sequence[Outputs], crop_px: int, pair: HandPair
) -> Difference | None:
    """Compare two networks' outputs, crop by crop, as far as both have some; None where there is none.

    Where no hand is there, all count as if they were.
    """
    vertices_mm, joints_px, there = [], [], []
    for one, other in zip(expected, actual, strict=False):
        (vertices, joints), (other_vertices, other_joints) = _skin(one, pair), _skin(other, pair)
        vertices_mm.append(1000 * np.linalg.norm(vertices - other_vertices, axis=-1))
        joints_px.append(crop_px * np.linalg.norm(_project(one, joints) - _project(other, other_joints), axis=-1))
        there.append(one["presence"][0] > 0)
    if not vertices_mm:
        return None
    every, seen = np.concatenate(vertices_mm), np.concatenate(there)  # (2 crops, 778), (2 crops,)
    present = every[seen] if seen.any() else every
    return Difference(
        vertex_mm=float(every.max()),
        projection_px=float(np.max(joints_px)),
        present_vertex_mm=float(present.max()),
        present_hand_mm=float(present.mean(axis=1).max()),
        mean_mm=float(present.mean()),
    )


def package_predictor(path: Path, hands: tuple[HandModel, HandModel]) -> tuple[Predictor, int]:
    """Return predictions of a package in its own arithmetic, for training.evaluate, and its crop in px."""
    evaluator, pair = Evaluator(path), HandPair(*hands)

    def predict(images: Images) -> HandBatch:
        crops = [(image * 255).round().astype(np.uint8) for image in images]
        found = [evaluator(package_input(evaluator, crop), "fp16") for crop in crops]
        meshes = [_skin(outputs, pair) for outputs in found]
        return HandBatch(
            joints=np.stack([joints for _, joints in meshes]),
            vertices=np.stack([vertices for vertices, _ in meshes]),
            relative_translation=np.stack([outputs["relative_translation"][0] for outputs in found]),
            present=np.stack([outputs["presence"][0] > 0 for outputs in found]),
        )

    return predict, evaluator.inputs[INPUT_NAME][-1]


def package_input(evaluator: Evaluator, crop: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Turn a crop (S, S, 3) uint8 RGB into the program's input: a picture's pixels where it takes a picture."""
    image = graph_input(crop)
    return {INPUT_NAME: np.rint(image / np.float32(IMAGE_SCALE)) if INPUT_NAME in evaluator.images else image}


def _torch_outputs(network: ERNet, crop: NDArray[np.uint8], fp16_numbers: bool = False) -> Outputs:
    """`fp16_numbers`: those written in the network's code (attention scales, epsilons) are rounded, as in a package."""
    with torch.inference_mode(), _Fp16Numbers() if fp16_numbers else nullcontext():
        return {name: value.numpy() for name, value in network(torch.from_numpy(graph_input(crop)))._asdict().items()}


class _Fp16Numbers(TorchFunctionMode):
    """Rounds the numbers that torch functions are given beside tensors."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {key: self._rounded(value) for key, value in (kwargs or {}).items()}
        return func(*(self._rounded(value) for value in args), **given)

    @staticmethod
    def _rounded(value: Any) -> Any:
        return float(np.float16(value)) if isinstance(value, float) else value


def _skin(outputs: Outputs, pair: HandPair) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Wrist-relative vertices (2, 778, 3) and joints (2, 21, 3), m."""
    return pair.skin(np.asarray(matrix_from_6d(outputs["rotation6d"][0]), np.float32), outputs["shape"][0])


def _project(outputs: Outputs, joints: NDArray[np.float32]) -> NDArray[np.float32]:
    camera = outputs["camera"][0]
    return camera[:, None, :1] * joints[..., :2] + camera[:, None, 1:]
