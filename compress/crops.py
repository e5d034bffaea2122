"""The real input an export is calibrated, checked and measured on: crops of annotated images, or own pictures."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from runtime.errors import UserError
from runtime.image.crop import crop_of_image
from runtime.image.reading import read_image
from training.data.frames import Frames
from training.data.samples import load_crop

Crops = NDArray[np.uint8]  # (N, S, S, 3) RGB

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
BLACK = 8  # a picture without a brighter pixel shows nothing
FEW = 256
NAMED = 4  # of the pictures left out


def load_crops(frames: Frames, count: int, crop_px: int, label: str) -> Crops:
    """The first `count` crops, or all where there are fewer, cut as the runner cuts them."""
    first = frames.first(min(count, len(frames)))
    return np.stack([load_crop(first, i, crop_px) for i in tqdm(range(len(first)), label, unit="img", leave=False)])


def calibration_crops(folder: Path | None, count: int, train: Frames, crop_px: int) -> tuple[str, Crops]:
    """What ranges are measured on, after its name: of `train`, or pictures of one's own; a warning for few."""
    if folder is None:
        name, crops = train.label, load_crops(train, count, crop_px, "calibration crops")
    else:
        name, crops = folder.name, load_own_crops(folder, count, crop_px)
    if len(crops) < FEW:
        tqdm.write(f"warning: only {len(crops)} calibration images, {FEW} or more are safer")
    return name, crops


def load_own_crops(folder: Path, count: int, crop_px: int) -> Crops:
    """Up to `count` crops out of a folder of pictures, each seen whole.

    What cannot be read or is all black is left out, with one line that names it. UserError where nothing is left.
    """
    if not folder.is_dir():
        raise UserError(f"no calibration data at {folder}: give a folder of pictures")
    crops: list[Crops] = []
    left_out = []
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    for path in tqdm(paths, desc="calibration images", unit="img", leave=False):
        if len(crops) == count:
            break
        try:
            image = read_image(path)
        except UserError:  # no picture, such as the `._NAME.jpg` that macOS puts beside each on a foreign disk
            image = np.zeros((1, 1, 3), np.uint8)
        if image.max() < BLACK:
            left_out.append(path.name)
        else:
            crops.append(crop_of_image(image.shape[1], image.shape[0], crop_px).apply(image))
    if left_out:
        names = ", ".join(left_out[:NAMED]) + (", ..." if len(left_out) > NAMED else "")
        tqdm.write(f"warning: {len(left_out)} left out of {folder}, all black or no picture that can be read: {names}")
    if not crops:
        raise UserError(f"{folder} holds no picture that can be used ({', '.join(IMAGE_SUFFIXES)})")
    return np.stack(crops)


def digest(crops: Crops) -> str:
    """sha256 over the pixels, for the passport."""
    return hashlib.sha256(np.ascontiguousarray(crops).tobytes()).hexdigest()
