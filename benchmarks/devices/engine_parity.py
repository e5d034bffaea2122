"""Whether an engine file gives the hands that onnxruntime gives from its ONNX file, in mm of the skinned meshes.

It needs no data set: the crops travel with the project.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.devices.shipped_crops import shipped_crops
from runtime.backends.contract import Outputs
from runtime.backends.engine_passport import read_engine_passport
from runtime.backends.opening import open_backend
from runtime.hand.hand_model import HandPair, load_hand_models
from runtime.hand.rotations import matrix_from_6d
from runtime.runner import graph_input

# Mean vertex distance to onnxruntime on the same file that is still the same network. TensorRT sums in another order,
# in TF32 where the graph says fp32, and rounds int8 at other places. Chosen before any device was seen.
TOLERANCE_MM = {"fp32": 0.2, "fp16": 0.5, "int8": 2.0}

Run = Callable[[NDArray[np.float32]], Outputs]


@dataclass(frozen=True)
class ParityFigures:
    """Distances over hands that the reference sees; nan where an output is not finite, or nothing was compared."""

    precision: str
    mean_mm: float  # over all vertices of all hands
    worst_hand_mm: float  # the largest mean over one hand
    relative_translation_mm: float  # largest, of the left wrist to the right
    presence_changed: int  # hands that only one of both sees
    hands: int
    crops: int

    @property
    def reason(self) -> str | None:
        """Why the engine cannot be used; None where it is within its precision's tolerance."""
        most_mm = TOLERANCE_MM[self.precision]
        if self.mean_mm <= most_mm:  # nor nan
            return None
        return f"{self.mean_mm:.3f} mm from onnxruntime on the same file, more than {most_mm}: do not use it"


def shipped_parity(engine_path: Path, onnx_path: Path | None = None, hand_model: Path | None = None) -> ParityFigures:
    """Compare an engine file with onnxruntime on its ONNX file, over the shipped crops.

    onnx_path: None for the one that the engine's passport names, beside it. UserError for files that cannot be opened.
    """
    if onnx_path is None:
        onnx_path = engine_path.parent / read_engine_passport(engine_path)[0].onnx_file
    models = HandPair(*load_hand_models(hand_model))
    with closing(open_backend(onnx_path, "cpu")) as reference, closing(open_backend(engine_path)) as engine:
        images = (graph_input(crop) for crop in shipped_crops(engine.info.input_px))
        return compare(engine.run, reference.run, images, models, engine.info.precision)


def compare(
    run: Run, run_reference: Run, images: Iterable[NDArray[np.float32]], models: HandPair, precision: str
) -> ParityFigures:
    """Run both on every image (1, 3, S, S)."""
    means: list[float] = []
    translations: list[float] = []
    changed = crops = 0
    for image in images:
        outputs, expected = run(image), run_reference(image)
        here, there = outputs["presence"][0] > 0, expected["presence"][0] > 0
        changed += int(np.sum(here != there))
        distances = 1000 * np.linalg.norm(_vertices(outputs, models) - _vertices(expected, models), axis=-1)
        means += [float(distances[side].mean()) for side in range(2) if there[side]]
        if there.all():
            difference = outputs["relative_translation"][0] - expected["relative_translation"][0]
            translations.append(1000 * float(np.linalg.norm(difference)))
        crops += 1
    return ParityFigures(
        precision=precision,
        mean_mm=float(np.mean(means)) if means else float("nan"),
        worst_hand_mm=float(np.max(means)) if means else float("nan"),
        relative_translation_mm=float(np.max(translations)) if translations else float("nan"),
        presence_changed=changed,
        hands=len(means),
        crops=crops,
    )


def _vertices(outputs: Outputs, models: HandPair) -> NDArray[np.floating]:
    """Return the meshes (2, 778, 3), m, wrist-relative; nan where the network's numbers are not finite."""
    rotations, shape = outputs["rotation6d"][0], outputs["shape"][0]
    if not (np.isfinite(rotations).all() and np.isfinite(shape).all()):
        return np.full((2, models.right.v_template.shape[0], 3), np.nan)
    vertices, _ = models.skin(np.asarray(matrix_from_6d(rotations), np.float32), shape)
    return vertices
