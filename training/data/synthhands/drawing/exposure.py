"""What the camera does to a picture: blur and motion, white balance, tone curve, sensor noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from training.data.synthhands.arrays import Bytes, Float32s, Floats
from training.data.synthhands.drawing.background import blurred
from training.data.synthhands.kernels import kernel

_NOISE_SIZE, _NOISE_SEED = 1024, 7
_LUMA = (np.float32(0.299), np.float32(0.587), np.float32(0.114))


@dataclass(frozen=True)
class Exposure:
    """What the camera does to the light that reaches it."""

    gains: Floats  # (3,)
    gamma: float
    contrast: float
    read_noise: float  # of white
    shot_noise: float
    noise_start: tuple[int, int]
    blur_px: float  # 0: none
    motion_px: tuple[float, float]  # x, y travelled while the shutter was open
    gray: bool
    jpeg_quality: int


def sample_exposure(rng: np.random.Generator) -> Exposure:
    """A camera: most are fair, some blur, move, are noisy or gray."""
    cast = rng.normal(0, 0.035, 3) if rng.random() < 0.75 else rng.normal(0, 0.10, 3)
    moving = rng.random() < 0.12
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(2.0, 8.0)
    noisy = rng.uniform(0.002, 0.012) if rng.random() < 0.8 else rng.uniform(0.012, 0.035)
    return Exposure(
        gains=rng.uniform(0.75, 1.35) * (1 + np.clip(cast, -0.22, 0.22)),
        gamma=rng.uniform(2.0, 2.4),
        contrast=rng.uniform(0.0, 0.35),
        read_noise=noisy * 0.5,
        shot_noise=noisy * 0.8,
        noise_start=(int(rng.integers(_NOISE_SIZE)), int(rng.integers(_NOISE_SIZE))),
        blur_px=rng.uniform(0.35, 0.9) if rng.random() < 0.4 else 0.0,
        motion_px=(length * np.cos(angle), length * np.sin(angle)) if moving else (0.0, 0.0),
        gray=bool(rng.random() < 0.06),
        jpeg_quality=int(rng.integers(80, 96)),
    )


def expose(linear: Float32s, exposure: Exposure) -> Bytes:
    """Linear RGB (H, W, 3) -> BGR bytes."""
    if exposure.motion_px != (0.0, 0.0):
        kernel = _motion_kernel(*exposure.motion_px)
        linear = np.asarray(cv2.filter2D(linear, -1, kernel, borderType=cv2.BORDER_REPLICATE), np.float32)
    if exposure.blur_px > 0:
        linear = blurred(linear, exposure.blur_px)
    out = np.empty(linear.shape, np.uint8)
    gains, curve = exposure.gains.astype(np.float32), _tone_curve(exposure.gamma, exposure.contrast)
    levels = np.float32(exposure.read_noise), np.float32(exposure.shot_noise)
    _develop(linear, gains, curve, noise_bank(), exposure.noise_start, levels, exposure.gray, out)
    return out


@lru_cache(maxsize=1)
def noise_bank() -> Float32s:
    """Normal deviates that sensor noise is taken from, wherever it starts."""
    return np.random.default_rng(_NOISE_SEED).normal(size=(_NOISE_SIZE, _NOISE_SIZE)).astype(np.float32)


def _tone_curve(gamma: float, contrast: float) -> Float32s:
    """4096 steps of linear light -> shown level: gamma, then an S-curve blended in."""
    shown = np.linspace(0, 1, 4096) ** (1 / gamma)
    return ((1 - contrast) * shown + contrast * shown * shown * (3 - 2 * shown)).astype(np.float32)


def _motion_kernel(x_px: float, y_px: float) -> Float32s:
    """A straight smear, its centre of mass in the middle."""
    half = int(np.ceil(max(abs(x_px), abs(y_px)) / 2)) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    for step in np.linspace(-0.5, 0.5, 33):
        u, v = half + step * x_px, half + step * y_px
        i, j = int(u), int(v)
        for dj, di in ((0, 0), (0, 1), (1, 0), (1, 1)):
            kernel[j + dj, i + di] += (1 - abs(u - i - di)) * (1 - abs(v - j - dj))
    return kernel / kernel.sum()


@kernel
def _develop(
    linear: Float32s, gains: Float32s, curve: Float32s, noise: Float32s, start: Any, levels: Any, gray: bool, out: Bytes
) -> None:
    """Linear RGB (H, W, 3) -> BGR bytes: white balance and exposure, tone curve, sensor noise.

    `noise` is a square bank of normal deviates, wrapped around from `start` (row, column) on; `levels` are its read and
    shot parts, in units of white.
    """
    height, width = linear.shape[:2]
    size = noise.shape[0]
    last = curve.shape[0] - 1
    read, shot = levels
    for row in range(height):
        for column in range(width):
            mean = np.float32(0.0)
            for channel in range(3):
                level = min(max(linear[row, column, channel] * gains[channel], np.float32(0.0)), np.float32(1.0))
                # Shift the bank per colour, so that noise is coloured as a sensor's is.
                i = (row + start[0] + 173 * channel) % size
                j = (column + start[1] + 331 * channel) % size
                shown = curve[int(level * last)]
                shown += noise[i, j] * (read + shot * np.sqrt(shown))
                shown = min(max(shown, np.float32(0.0)), np.float32(1.0))
                mean += shown * _LUMA[channel]
                if not gray:
                    out[row, column, 2 - channel] = np.uint8(shown * np.float32(255.0) + np.float32(0.5))
            if gray:
                for channel in range(3):
                    out[row, column, channel] = np.uint8(mean * np.float32(255.0) + np.float32(0.5))
