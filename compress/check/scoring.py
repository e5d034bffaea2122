"""Accuracy on labelled images that are decoded and cut once, however many files are measured on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from compress.crops import Crops
from runtime.hand.hand_model import HandPair
from training.data.frames import Frames
from training.evaluation.predictions import BATCH, Predictor, labelled_batches
from training.evaluation.protocols import Truth
from training.evaluation.scores import Scores


@dataclass(frozen=True, eq=False)
class LabelledCrops:
    """Images of a data set as crops in memory, and what they truly show."""

    frames: Frames
    crops: Crops
    truth: tuple[Truth, ...]  # of BATCH crops each


def load_labelled_crops(frames: Frames, crop_px: int, hands: HandPair) -> LabelledCrops:
    """Decode and cut every image of `frames`, as the runner cuts it."""
    crops = np.empty((len(frames), crop_px, crop_px, 3), np.uint8)
    truth: list[Truth] = []
    for images, shown in labelled_batches(frames, crop_px, hands, "test images"):
        crops[len(truth) * BATCH :][: len(images)] = np.rint(images * 255)
        truth.append(shown)
    return LabelledCrops(frames, crops, tuple(truth))


def score(predict: Predictor, test: LabelledCrops, label: str) -> Scores:
    """Figures of a predictor over every image, by the protocol of cards and passports, and in the picture."""
    scores = Scores()
    with tqdm(total=len(test.crops), desc=f"accuracy {label}", unit="img", leave=False) as bar:
        for number, truth in enumerate(test.truth):
            crops = test.crops[number * BATCH : (number + 1) * BATCH]
            scores.add(predict(crops.astype(np.float32) / np.float32(255)), truth)
            bar.update(len(crops))
    return scores
