"""Parity of an exported file with the torch network it came from, in the units people read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from compress.crops import Crops
from compress.onnx.passes import clip_instead_of_rounding
from runtime.backends.session import open_session
from runtime.hand.hand_model import HandModel, skin
from runtime.hand.rotations import matrix_from_6d
from runtime.runner import graph_input
from training.quantisation.qat import clipping_network

if TYPE_CHECKING:
    from training.network import ERNet

VERTEX_TOLERANCE_MM = 0.02
PROJECTION_TOLERANCE_PX = 0.05


@dataclass(frozen=True)
class Parity:
    """Worst differences over all crops."""

    vertex_mm: float
    projection_px: float
    n_images: int

    @property
    def passed(self) -> bool:
        """Within the tolerances of a float export."""
        return self.vertex_mm <= VERTEX_TOLERANCE_MM and self.projection_px <= PROJECTION_TOLERANCE_PX


def check_parity(network: ERNet, path: Path, crops: Crops, hands: tuple[HandModel, HandModel]) -> Parity:
    """Run both on every crop; compare the skinned vertices and the joints projected into the crop."""
    return _compare(network, open_session(path), crops, hands)


def check_trained_parity(network: ERNet, path: Path, crops: Crops, hands: tuple[HandModel, HandModel]) -> Parity:
    """The same for an int8 file and the network trained for it, both without rounding (onnx/passes.py says why)."""
    # Optimised, linears with integer weights would round their inputs again.
    session = open_session(clip_instead_of_rounding(path).SerializeToString(), optimise="none")
    return _compare(clipping_network(network), session, crops, hands)


def _compare(network: ERNet, session: Any, crops: Crops, hands: tuple[HandModel, HandModel]) -> Parity:
    names = [output.name for output in session.get_outputs()]
    vertex_mm = projection_px = 0.0
    for crop in tqdm(crops, desc="parity", unit="img", leave=False):
        image = graph_input(crop)
        with torch.no_grad():
            expected = {k: v.numpy() for k, v in network(torch.from_numpy(image))._asdict().items()}
        actual = dict(zip(names, session.run(None, {"image": image}), strict=True))
        vertices, points = _mesh(expected, hands)
        other_vertices, other_points = _mesh(actual, hands)
        vertex_mm = _worst(vertex_mm, 1000 * np.linalg.norm(vertices - other_vertices, axis=-1))
        projection_px = _worst(projection_px, crop.shape[0] * np.linalg.norm(points - other_points, axis=-1))
    return Parity(vertex_mm, projection_px, len(crops))


def _worst(so_far: float, differences: np.ndarray) -> float:
    """The larger one; nan is worse than anything."""
    return float(np.max([so_far, np.max(differences)]))


def _mesh(outputs: dict[str, np.ndarray], hands: tuple[HandModel, HandModel]) -> tuple[np.ndarray, np.ndarray]:
    """Wrist-relative vertices (2, 778, 3) in m and projected joints (2, 21, 2) in parts of the crop."""
    rotations, shape, camera = matrix_from_6d(outputs["rotation6d"][0]), outputs["shape"][0], outputs["camera"][0]
    skinned = [skin(hand, rotations[side], shape[side]) for side, hand in enumerate(hands)]
    vertices, joints = (np.stack(parts) for parts in zip(*skinned, strict=True))
    wrist = joints[:, :1]
    return vertices - wrist, camera[:, None, :1] * (joints - wrist)[..., :2] + camera[:, None, 1:]
