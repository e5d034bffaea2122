"""The real input an export is calibrated, checked and measured on: crops of annotated images."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from training.data.interhand import Frames
from training.data.samples import load_crop

Crops = NDArray[np.uint8]  # (N, S, S, 3) RGB


def load_crops(frames: Frames, count: int, crop_px: int, label: str) -> Crops:
    """The first `count` crops, cut as the runner cuts them."""
    first = frames.first(count)
    return np.stack([load_crop(first, i, crop_px) for i in tqdm(range(count), desc=label, unit="img", leave=False)])


def digest(crops: Crops) -> str:
    """sha256 over the pixels, for the passport."""
    return hashlib.sha256(np.ascontiguousarray(crops).tobytes()).hexdigest()
