"""Augmentation of one sample: a planar similarity with optional mirroring, and colour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class AugmentSpec:
    """Ranges of the augmentation; each is drawn per sample."""

    rotation_deg: float = 20.0
    scale: float = 0.12  # log-uniform within +-
    shift: float = 0.06  # of the crop's side
    flip: float = 0.5  # probability
    gain: float = 0.15
    brightness: float = 0.12
    gray: float = 0.08  # probability


@dataclass(frozen=True)
class Augmentation:
    """One draw."""

    angle_rad: float
    scale: float
    shift: NDArray[np.float64]  # (2,) of the crop's side
    flip: bool
    gain: NDArray[np.float32]  # (3,) per channel
    offset: float  # in 0..1
    gray: bool


def draw(spec: AugmentSpec, rng: np.random.Generator) -> Augmentation:
    """Draw an augmentation."""
    return Augmentation(
        angle_rad=float(
            np.deg2rad(np.clip(rng.normal(0, spec.rotation_deg / 2), -spec.rotation_deg, spec.rotation_deg))
        ),
        scale=float(np.exp(rng.uniform(-spec.scale, spec.scale))),
        shift=rng.uniform(-spec.shift, spec.shift, 2),
        flip=bool(rng.random() < spec.flip),
        gain=(rng.uniform(1 - spec.gain, 1 + spec.gain) * rng.uniform(0.93, 1.07, 3)).astype(np.float32),
        offset=float(rng.uniform(-spec.brightness, spec.brightness)),
        gray=bool(rng.random() < spec.gray),
    )


def recolour(image: NDArray[np.uint8], augmentation: Augmentation) -> NDArray[np.float32]:
    """(S, S, 3) uint8 -> float 0..1 with the drawn colours."""
    scaled = image.astype(np.float32) * (augmentation.gain / 255) + augmentation.offset
    if augmentation.gray:
        scaled[:] = scaled.mean(axis=2, keepdims=True)
    return np.clip(scaled, 0, 1)
