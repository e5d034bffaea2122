"""The numeric check of a package: its program, evaluated here, against the torch network it came from.

Three comparisons, each with one cause: fp32 arithmetic with the network as stored (is it the same program?), the
program's own fp16 arithmetic with the same (what does rounding results cost?), and the network as stored with the
network as given (what does rounding weights cost?). The first two have tolerances; the third is judged by accuracy.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compress.coreml.convert import IMAGE_SCALE, as_stored
from compress.coreml.package import read_package
from compress.coreml.program import Program, read_program
from compress.crops import Crops
from runtime.backends.contract import INPUT_NAME, OUTPUT_SHAPES, input_shape
from runtime.errors import UserError
from runtime.hand.decode import HandPair
from runtime.hand.hand_model import HandModel
from runtime.hand.rotations import matrix_from_6d
from runtime.runner import graph_input

if TYPE_CHECKING:
    from compress.coreml.evaluator import Evaluator
    from training.evaluate import Images, Predictor
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
    from tqdm import tqdm

    from compress.coreml.evaluator import Evaluator, NumericFault

    program = read_program(read_package(path))
    crop_px_of(program)
    stored, exact, half = as_stored(network, precision), Evaluator(program, "fp32"), Evaluator(program, "fp16")
    pair = HandPair(*hands)
    meters = [_Meter(pair) for _ in range(3)]
    fault = None
    try:
        for crop in tqdm(crops, desc="numeric check", unit="img", leave=False):
            expected = _torch_outputs(stored, crop, fp16_numbers=stored is not network)
            meters[0].add(expected, evaluate_crop(exact, crop), len(crop))
            meters[1].add(expected, evaluate_crop(half, crop), len(crop))
            meters[2].add(_torch_outputs(network, crop), expected, len(crop))
    except NumericFault as problem:
        fault = str(problem)
    fp32, fp16, weights = (meter.difference() for meter in meters)
    return PackageParity(fp32, fp16, weights, half.peak.value, half.peak.operation, fault, len(crops))


def package_predictor(path: Path, hands: tuple[HandModel, HandModel]) -> tuple[Predictor, int]:
    """Predictions of a package in its own arithmetic, for training.evaluate, and its crop in px."""
    from compress.coreml.evaluator import Evaluator
    from training.evaluation.protocols import HandBatch

    program = read_program(read_package(path))
    crop_px = crop_px_of(program)
    evaluator, pair = Evaluator(program, "fp16"), HandPair(*hands)

    def predict(images: Images) -> HandBatch:
        found = [evaluate_crop(evaluator, (image * 255).round().astype(np.uint8)) for image in images]
        meshes = [_skin(outputs, pair) for outputs in found]
        return HandBatch(
            joints=np.stack([joints for _, joints in meshes]),
            vertices=np.stack([vertices for vertices, _ in meshes]),
            relative_translation=np.stack([outputs["relative_translation"][0] for outputs in found]),
            present=np.stack([outputs["presence"][0] > 0 for outputs in found]),
        )

    return predict, crop_px


def crop_px_of(program: Program) -> int:
    """Side of the picture that a program takes; a UserError where it is not a program by the graph contract."""
    shapes = {name: kind.shape for name, kind in program.inputs.items()}
    side = shapes[INPUT_NAME][-1] if shapes.get(INPUT_NAME) else 0
    if shapes != {INPUT_NAME: input_shape(side)}:
        raise UserError(f"{program.path} does not take one square picture: it is no package of this project")
    made = {name: kind.shape for operation in program.operations for name, kind in operation.outputs.items()}
    if {name: made.get(name) for name in program.outputs} != OUTPUT_SHAPES:
        raise UserError(f"{program.path} does not give {', '.join(OUTPUT_SHAPES)}: it is no package of this project")
    return side


def evaluate_crop(evaluator: Evaluator, crop: NDArray[np.uint8]) -> Outputs:
    """The outputs for a crop (S, S, 3) uint8 RGB; an image input gets its pixels, as Core ML hands them over."""
    image = graph_input(crop)
    if INPUT_NAME in evaluator.program.images:
        image = np.rint(image / np.float32(IMAGE_SCALE))
    return evaluator({INPUT_NAME: image})


def _torch_outputs(network: ERNet, crop: NDArray[np.uint8], fp16_numbers: bool = False) -> Outputs:
    """`fp16_numbers`: those written in the network's code (attention scales, epsilons) are rounded, as in a package."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Fp16Numbers(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            given = {key: _as_fp16(value) for key, value in (kwargs or {}).items()}
            return func(*(_as_fp16(value) for value in args), **given)

    with torch.inference_mode(), Fp16Numbers() if fp16_numbers else nullcontext():
        return {name: value.numpy() for name, value in network(torch.from_numpy(graph_input(crop)))._asdict().items()}


def _as_fp16(value: Any) -> Any:
    return float(np.float16(value)) if isinstance(value, float) else value


def _skin(outputs: Outputs, pair: HandPair) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Wrist-relative vertices (2, 778, 3) and joints (2, 21, 3), m."""
    return pair.skin(np.asarray(matrix_from_6d(outputs["rotation6d"][0]), np.float32), outputs["shape"][0])


class _Meter:
    """Collects what lies between two networks' hands, crop by crop."""

    def __init__(self, pair: HandPair) -> None:
        self._pair = pair
        self._vertices_mm: list[NDArray[np.float32]] = []  # (2, 778)
        self._projection_px: list[float] = []
        self._present: list[NDArray[np.bool_]] = []  # (2,)

    def add(self, expected: Outputs, actual: Outputs, crop_px: int) -> None:
        """One crop's outputs."""
        (vertices, joints), (other_vertices, other_joints) = _skin(expected, self._pair), _skin(actual, self._pair)
        self._vertices_mm.append(1000 * np.linalg.norm(vertices - other_vertices, axis=-1))
        points = _project(expected, joints) - _project(actual, other_joints)
        self._projection_px.append(float(crop_px * np.linalg.norm(points, axis=-1).max()))
        self._present.append(expected["presence"][0] > 0)

    def difference(self) -> Difference | None:
        """Of all crops so far; None before the first. Where no hand is there, all count as if they were."""
        if not self._vertices_mm:
            return None
        every = np.concatenate(self._vertices_mm)
        there = np.concatenate(self._present)
        present = every[there] if there.any() else every
        return Difference(
            vertex_mm=float(every.max()),
            projection_px=float(np.max(self._projection_px)),
            present_vertex_mm=float(present.max()),
            present_hand_mm=float(present.mean(axis=1).max()),
            mean_mm=float(present.mean()),
        )


def _project(outputs: Outputs, joints: NDArray[np.float32]) -> NDArray[np.float32]:
    camera = outputs["camera"][0]
    return camera[:, None, :1] * joints[..., :2] + camera[:, None, 1:]
