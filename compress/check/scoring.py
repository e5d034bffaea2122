"""Accuracy on labelled images that are decoded and cut once, however many files are measured on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from compress.crops import Crops
from runtime.hand.hand_model import HandPair
from training.data.frames import Frames
from training.data.samples import load_sample
from training.evaluation.predictions import BATCH, Predictor, truth_of
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
    truth = []
    with tqdm(total=len(frames), desc="test images", unit="img", leave=False) as bar:
        for start in range(0, len(frames), BATCH):
            batch = frames.subset(slice(start, start + BATCH))
            samples = [load_sample(batch, i, crop_px) for i in range(len(batch))]
            crops[start : start + BATCH] = np.stack([np.rint(sample.image * 255) for sample in samples])
            truth.append(truth_of(samples, hands, batch))
            bar.update(len(batch))
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
