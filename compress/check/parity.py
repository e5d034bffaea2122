"""Parity of an exported file with the torch network it came from, in the units people read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from compress.check.mesh_distance import mesh_distance
from compress.crops import Crops
from runtime.backends.contract import Outputs
from runtime.backends.session import open_session
from runtime.hand.hand_model import HandPair
from runtime.runner import graph_input

if TYPE_CHECKING:
    from training.network import ERNet

Run = Callable[[NDArray[np.float32]], Outputs]  # of a file: the graph's `image` -> its outputs
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


def check_parity(network: ERNet, path: Path, crops: Crops, hands: HandPair) -> Parity:
    """Run both on every crop; compare the skinned vertices and the joints projected into the crop."""
    session = open_session(path)
    names = [output.name for output in session.get_outputs()]
    return compare(
        network, lambda image: dict(zip(names, session.run(None, {"image": image}), strict=True)), crops, hands
    )


def compare(network: ERNet, run: Run, crops: Crops, hands: HandPair) -> Parity:
    """Hold what `run` gives for the graph's `image` against the network."""
    expected, actual = [], []
    for crop in tqdm(crops, desc="parity", unit="img", leave=False):
        image = graph_input(crop)
        with torch.no_grad():
            expected.append({k: v.numpy() for k, v in network(torch.from_numpy(image))._asdict().items()})
        actual.append(run(image))
    distance = mesh_distance(expected, actual, crops.shape[1], HandPair(*hands))
    return Parity(distance.vertex_mm, distance.projection_px, len(crops))
