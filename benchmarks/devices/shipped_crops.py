"""64 crops that travel with the project, for parity of engines on a device without a data set. Rendered (SynthHands).

They are JPEGs in one array file: the first of the synthetic test split (version 1), 256 px wide, of quality 90.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from compress.check.mesh_distance import mesh_distance
from runtime.backends.engine_passport import read_engine_passport
from runtime.backends.opening import open_backend
from runtime.hand.hand_model import HandPair, load_hand_models
from runtime.runner import graph_input

FILE = Path(__file__).parents[1] / "assets" / "crops.npz"
COUNT = 64
SIDE_PX = 256  # the largest crop that a variant takes; others are scaled down

# Mean vertex distance to onnxruntime on the same file that is still the same network. TensorRT sums in another order,
# in TF32 where the graph says fp32, and rounds int8 at other places. Chosen before any device was seen.
TOLERANCE_MM = {"fp32": 0.2, "fp16": 0.5, "int8": 2.0}

Crops = NDArray[np.uint8]  # (N, S, S, 3) RGB


def shipped_crops(crop_px: int, path: Path = FILE) -> Crops:
    """Return all of them as (64, S, S, 3) RGB."""
    with np.load(path, allow_pickle=False) as content:
        parts = np.split(content["jpeg"], content["ends"][:-1])
    crops = [np.asarray(cv2.imdecode(part, cv2.IMREAD_COLOR)) for part in parts]
    if crop_px != SIDE_PX:
        crops = [np.asarray(cv2.resize(crop, (crop_px, crop_px), interpolation=cv2.INTER_AREA)) for crop in crops]
    return np.ascontiguousarray(np.stack(crops)[..., ::-1], np.uint8)


def parity_problem(precision: str, mean_mm: float) -> str | None:
    """Return why an engine cannot be used; None where it is within its precision's tolerance."""
    if mean_mm <= TOLERANCE_MM[precision]:  # nor nan
        return None
    return f"{mean_mm:.3f} mm from onnxruntime on the same file, more than {TOLERANCE_MM[precision]}: do not use it"


def shipped_distance_mm(engine_path: Path, hand_model: Path | None = None) -> float:
    """Return the mean vertex distance of an engine to onnxruntime on the ONNX file that its passport names, beside it.

    Over the hands that onnxruntime sees; nan where an output is no number. UserError for files that cannot be opened.
    """
    onnx_path = engine_path.parent / read_engine_passport(engine_path)[0].onnx_file
    with closing(open_backend(onnx_path, "cpu")) as reference, closing(open_backend(engine_path)) as engine:
        crop_px = engine.info.input_px
        images = [graph_input(crop) for crop in shipped_crops(crop_px)]
        expected, found = ([backend.run(image) for image in images] for backend in (reference, engine))
        return mesh_distance(expected, found, crop_px, HandPair(*load_hand_models(hand_model))).mean_mm
