"""Parity of an exported file with the torch network it came from, in the units people read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from compress.artefact import BASELINE, PARITY_FAILED, Artefact, Verdict
from compress.check.mesh_distance import MeshDistance, how_unsteady, mesh_distance
from compress.crops import Crops
from runtime.backends.contract import Outputs
from runtime.backends.session import open_session
from runtime.hand.hand_model import HandPair
from runtime.hand.hands import Floats
from runtime.runner import graph_input

if TYPE_CHECKING:
    from compress.material import Material
    from training.network import ERNet

Run = Callable[[Floats], Outputs]  # of a file: the graph's `image` -> its outputs
PARITY_CROPS = 64
NOISE = 1 / 1024  # a quarter of a grey level


def prove(artefact: Artefact, run: Run, material: Material) -> Artefact:
    """Compare an exported file with the network; only an fp32 one must be within the tolerance of a copy."""
    parity = compare(material.network, run, material.test.crops[:PARITY_CROPS], material.hands)
    artefact = replace(artefact, parity=asdict(parity))
    if artefact.precision == BASELINE and not parity.passed:
        apart = f"{parity.vertex_mm:.3f} mm and {parity.projection_px:.3f} px apart"
        reason = f"the fp32 file is not the network: {apart}"
        artefact = replace(artefact, verdict=Verdict(PARITY_FAILED, (reason,)))
    return artefact


def check_parity(network: ERNet, path: Path, crops: Crops, hands: HandPair) -> MeshDistance:
    """Hold an ONNX file against the network."""
    return compare(network, run_of(path), crops, hands)


def run_of(path: Path) -> Run:
    """An ONNX file in onnxruntime."""
    session = open_session(path)
    names = [output.name for output in session.get_outputs()]
    return lambda image: dict(zip(names, session.run(None, {"image": image}), strict=True))


def compare(network: ERNet, run: Run, crops: Crops, hands: HandPair, shake: bool = False) -> MeshDistance:
    """Hold what `run` gives for the graph's `image` against the network, on every crop.

    `shake`: hands count for less as noise on their pictures moves them more (mesh_distance.how_unsteady).
    """
    expected, actual, shaken = [], [], []
    rng = np.random.default_rng(0)
    for crop in tqdm(crops, desc="parity", unit="img", leave=False):
        image = graph_input(crop)
        expected.append(_outputs(network, image))
        actual.append(run(image))
        if shake:
            shaken.append(_outputs(network, image + rng.normal(0, NOISE, image.shape).astype(np.float32)))
    pair = HandPair(*hands)
    unsteady = how_unsteady(expected, shaken, pair) if shake else None
    return mesh_distance(expected, actual, crops.shape[1], pair, unsteady)


def _outputs(network: ERNet, image: Floats) -> Outputs:
    with torch.no_grad():
        return {name: value.numpy() for name, value in network(torch.from_numpy(image))._asdict().items()}
