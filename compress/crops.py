"""The real input an export is calibrated, checked and measured on: crops of annotated images, or own pictures."""

from __future__ import annotations

import hashlib
import math
import zipfile
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
ARRAY_KEY = "crops"
MAX_ARRAY_BYTES = 4 << 30
BLACK = 8  # a picture without a brighter pixel shows nothing


def load_crops(frames: Frames, count: int, crop_px: int, label: str) -> Crops:
    """The first `count` crops, cut as the runner cuts them."""
    first = frames.first(count)
    return np.stack([load_crop(first, i, crop_px) for i in tqdm(range(count), desc=label, unit="img", leave=False)])


def load_own_crops(source: Path, count: int, crop_px: int) -> Crops:
    """Up to `count` crops out of a folder of pictures, each seen whole, or an .npz with `crops` (N, S, S, 3) uint8.

    UserError, naming the file, for what cannot be read, is all black, or has another size or type.
    """
    if source.suffix.lower() == ".npz":
        return _read_array(source, count, crop_px)
    if not source.is_dir():
        raise UserError(f"no calibration data at {source}: give a folder of pictures, an .npz, or a data set")
    paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)[:count]
    if not paths:
        raise UserError(f"{source} holds no picture ({', '.join(IMAGE_SUFFIXES)})")
    crops = []
    for path in tqdm(paths, desc="calibration images", unit="img", leave=False):
        image = read_image(path)
        if image.max() < BLACK:
            raise UserError(f"{path} is all black: take it out of the calibration images")
        crops.append(crop_of_image(image.shape[1], image.shape[0], crop_px).apply(image))
    return np.stack(crops)


def _read_array(path: Path, count: int, crop_px: int) -> Crops:
    """The array's header is looked at before its content is read."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{ARRAY_KEY}.npy") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
        if len(shape) != 4 or shape[1:] != (crop_px, crop_px, 3) or dtype != np.uint8:
            raise UserError(f"{path}: '{ARRAY_KEY}' is {shape} {dtype}, not (N, {crop_px}, {crop_px}, 3) uint8")
        if math.prod(shape) > MAX_ARRAY_BYTES:
            raise UserError(f"{path}: '{ARRAY_KEY}' has {shape[0]} crops, too many to read at once")
        with np.load(path, allow_pickle=False) as content:
            crops: Crops = content[ARRAY_KEY][:count]
    except KeyError:
        raise UserError(f"{path} has no array '{ARRAY_KEY}'") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    for index, crop in enumerate(crops):
        if crop.max() < BLACK:
            raise UserError(f"{path}: crop {index} is all black: take it out")
    return crops


def digest(crops: Crops) -> str:
    """sha256 over the pixels, for the passport."""
    return hashlib.sha256(np.ascontiguousarray(crops).tobytes()).hexdigest()
