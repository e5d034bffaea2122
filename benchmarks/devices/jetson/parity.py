"""Whether an engine gives the hands that onnxruntime gives from the same file, in mm of the skinned meshes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.backends.opening import Outputs
from runtime.hand.decode import HandPair
from runtime.hand.hand_model import load_hand_models
from runtime.hand.rotations import matrix_from_6d

# Mean vertex distance to onnxruntime on the same file that is still the same network. TensorRT sums in another order,
# in TF32 where the graph says fp32, and rounds int8 at other places. Chosen before any device was seen.
TOLERANCE_MM = {"fp32": 0.2, "fp16": 0.5, "int8": 2.0}

Run = Callable[[NDArray[np.float32]], Outputs]


@dataclass(frozen=True)
class EngineParity:
    """Over hands that the reference sees. Distances of vertices, mm; nan where an output is not finite."""

    mean_mm: float  # over all vertices of all hands
    worst_hand_mm: float  # the largest mean over one hand
    relative_translation_mm: float  # largest, of the left wrist to the right
    presence_changed: int  # hands that only one of both sees
    hands: int
    crops: int

    def passed(self, precision: str) -> bool:
        """Within the tolerance of a precision; nan is not."""
        return self.mean_mm <= TOLERANCE_MM[precision]


def compare(run: Run, reference: Sequence[Outputs], images: Sequence[NDArray[np.float32]]) -> EngineParity:
    """Run every image (1, 3, S, S) and compare with the reference's outputs for it."""
    models = HandPair(*load_hand_models())
    means: list[float] = []
    translations: list[float] = []
    changed = 0
    for image, expected in zip(images, reference, strict=True):
        outputs = run(image)
        here, there = outputs["presence"][0] > 0, expected["presence"][0] > 0
        changed += int(np.sum(here != there))
        distances = 1000 * np.linalg.norm(_vertices(outputs, models) - _vertices(expected, models), axis=-1)
        means += [float(distances[side].mean()) for side in range(2) if there[side]]
        if there.all():
            difference = outputs["relative_translation"][0] - expected["relative_translation"][0]
            translations.append(1000 * float(np.linalg.norm(difference)))
    return EngineParity(
        mean_mm=float(np.mean(means)) if means else float("nan"),
        worst_hand_mm=float(np.max(means)) if means else float("nan"),
        relative_translation_mm=float(np.max(translations)) if translations else float("nan"),
        presence_changed=changed,
        hands=len(means),
        crops=len(images),
    )


def _vertices(outputs: Outputs, models: HandPair) -> NDArray[np.floating]:
    """(2, 778, 3), m, wrist-relative; nan where the network's numbers are not finite."""
    rotations, shape = outputs["rotation6d"][0], outputs["shape"][0]
    if not (np.isfinite(rotations).all() and np.isfinite(shape).all()):
        return np.full((2, models.right.v_template.shape[0], 3), np.nan)
    vertices, _ = models.skin(np.asarray(matrix_from_6d(rotations), np.float32), shape)
    return vertices
