"""64 crops that travel with the project, for parity of engines on a device without a data set. Rendered (SynthHands).

They are JPEGs in one array file; `python -m benchmarks.devices.shipped_crops` makes it again from the synthetic set.
"""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from compress.check.mesh_distance import mesh_distance
from runtime.backends.engine_passport import read_engine_passport
from runtime.backends.opening import open_backend
from runtime.errors import CommandParser, run_command
from runtime.files import write_bytes_atomic
from runtime.hand.hand_model import HandPair, load_hand_models
from runtime.runner import graph_input

FILE = Path(__file__).parents[1] / "assets" / "crops.npz"
COUNT = 64
SIDE_PX = 256  # the largest crop that a variant takes; others are scaled down
JPEG_QUALITY = 90

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


def pack(crops: Crops) -> bytes:
    """Return the array file of (64, 256, 256, 3) RGB crops."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    parts = [cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), options)[1] for crop in crops]
    file = io.BytesIO()
    np.savez(file, jpeg=np.concatenate(parts), ends=np.cumsum([len(part) for part in parts]))
    return file.getvalue()


def main(arguments: list[str] | None = None) -> int:
    """Make the file from the synthetic test split."""
    from compress.crops import load_crops
    from training.data.dataset import open_frames

    CommandParser(__doc__).parse_args(arguments)
    frames = open_frames("synthetic", "test", load_hand_models(), COUNT)
    write_bytes_atomic(FILE, pack(load_crops(frames, COUNT, SIDE_PX, "crops")))
    return 0


if __name__ == "__main__":
    run_command(main)
