"""What an export must hold, measured on the files themselves: parity, accuracy through the runner, latency."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compress.check.advice import advise
from compress.check.parity import Parity, check_parity, check_trained_parity
from compress.check.timing import Latency, Ratio, time_alternately
from compress.crops import load_crops
from compress.formats import BASELINE
from runtime.hand.hand_model import HandModel
from runtime.runner import graph_input
from training.data.frames import Frames
from training.evaluate import dataset_label, evaluate, file_predictor, mean_pose_mpjpe_mm, network_predictor
from training.evaluation.protocols import Accuracy

if TYPE_CHECKING:
    from training.network import ERNet

PARITY_CROPS = 64


@dataclass(frozen=True)
class TrainedParity:
    """Of an int8 file with the network that was trained for it."""

    without_rounding: Parity  # of activations: clipped only
    torch_mpjpe_mm: float  # of the network, rounding, on the same test images as the file's
    mpjpe_difference_mm: float  # the file's less the network's


@dataclass(frozen=True)
class Figures:
    """Of one export; the mappings are by label (formats.OnnxFile), the baseline's first."""

    parity: Parity
    accuracy: Mapping[str, Accuracy]
    mean_pose_mpjpe_mm: float
    latency: Mapping[str, Latency]
    ratios: Mapping[str, Ratio]
    advice: str  # which file to run on this machine, and why
    trained: TrainedParity | None = None  # None: no int8 file, or its ranges were measured


def measure(
    network: ERNet,
    files: Mapping[str, Path],
    train: Frames,
    test: Frames,
    hands: tuple[HandModel, HandModel],
    hand_model: Path | None,
    trained: ERNet | None = None,
    runs_here: Collection[str] | None = None,
) -> Figures:
    """Measure files that carry a passport; `hand_model` is the file `hands` come from, None for the embedded one.

    `trained`: the network the int8 file was trained as, None where its ranges were measured. `runs_here`: labels
    of the files made for machines like this one, None for all; others are not timed.
    """
    crop_px = network.variant.crop_px
    crops = load_crops(test, min(PARITY_CROPS, len(test)), crop_px, "crops")
    parity = check_parity(network, files[BASELINE], crops, hands)
    accuracy = {}
    for label, path in files.items():
        predict, _ = file_predictor(path, hand_model)
        errors = evaluate(predict, test, crop_px, hands, f"accuracy {label}")
        accuracy[label] = errors.accuracy(dataset_label(test))
    trained_parity = None
    if trained is not None:
        unrounded = check_trained_parity(trained, files["int8"], crops, hands)
        errors = evaluate(network_predictor(trained, hands), test, crop_px, hands, "accuracy of the trained network")
        torch_mm = errors.accuracy(dataset_label(test)).mpjpe_mm
        trained_parity = TrainedParity(unrounded, torch_mm, accuracy["int8"].mpjpe_mm - torch_mm)
    timed = {label: path for label, path in files.items() if runs_here is None or label in runs_here}
    latency, ratios = time_alternately({name: one_frame(path, crops[0]) for name, path in timed.items()}, BASELINE)
    advice = advise(timed, ratios, {name: accuracy[name].mpjpe_mm - accuracy[BASELINE].mpjpe_mm for name in timed})
    return Figures(parity, accuracy, mean_pose_mpjpe_mm(train, test), latency, ratios, advice, trained_parity)


def one_frame(path: Path, crop: np.ndarray) -> Callable[[], object]:
    """One frame through a file on one thread: the network alone, on a real crop."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    image = graph_input(crop)
    return lambda: session.run(None, {"image": image})
