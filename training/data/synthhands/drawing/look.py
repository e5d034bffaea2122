"""How a picture looks: a person's skin and clothes, a picture's lights, and the camera's own marks on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from training.data.synthhands import schedule as plan
from training.data.synthhands.drawing import skin_texture
from training.data.synthhands.drawing.background import blurred, muted_colour
from training.data.synthhands.drawing.meshes import Material
from training.data.synthhands.drawing.rasteriser import Bytes, Float32s, Lights, Surface, develop
from training.data.synthhands.scene.body import ARM_STATIONS_M, unit
from training.data.synthhands.scene.posable import Floats, Rig

# Linear albedo from light to dark skin.
_TONES = np.array(
    [
        (0.78, 0.55, 0.44),
        (0.69, 0.46, 0.35),
        (0.58, 0.36, 0.25),
        (0.43, 0.25, 0.165),
        (0.28, 0.155, 0.10),
        (0.165, 0.088, 0.058),
    ]
)
_NAIL = np.array([0.80, 0.56, 0.50])
_SLEEVED_SHARE = 0.45
_NO_SLEEVE_M = 10.0
_NOISE_SIZE, _NOISE_SEED = 1024, 7


@dataclass(frozen=True)
class Person:
    """One subject's looks, the same in all their pictures."""

    skin: Floats  # (3,) linear albedo
    darkness: float  # 0 light .. 1 dark
    redness: float
    surface: Surface
    gloss: float
    specular: float


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


def sample_person(rig: Rig, capture: int, frame: int) -> Person:
    """The looks of the person seen in a frame."""
    rng = plan.random_stream(plan.Stream.SUBJECT, capture, frame // plan.SUBJECT_FRAMES, attempt=1)
    place = rng.uniform(0, len(_TONES) - 1)
    low = min(int(place), len(_TONES) - 2)
    skin = _TONES[low] * (low + 1 - place) + _TONES[low + 1] * (place - low)
    skin = skin * rng.uniform(0.92, 1.08) * (1 + rng.normal(0, 0.02, 3))
    darkness = place / (len(_TONES) - 1)
    sleeved = rng.random() < _SLEEVED_SHARE
    start = rng.uniform(0.012, 0.14)
    surface = Surface(
        texture=skin_texture.skin_texture(rig, rng),
        texture_origin_m=skin_texture.ORIGIN_M,
        texture_px_per_m=skin_texture.PX_PER_M,
        sleeve_from_m=start + rng.normal(0, 0.006, 2) if sleeved else np.full(2, _NO_SLEEVE_M),
        sleeve_colour=muted_colour(rng, 0.3),
        nail_colour=(skin * 0.62 + _NAIL * (0.36 - 0.12 * darkness)) * rng.uniform(0.9, 1.08, 3),
    )
    return Person(
        skin=skin,
        darkness=darkness,
        redness=rng.uniform(0.5, 1.5),
        surface=surface,
        gloss=rng.uniform(14, 60),
        specular=rng.uniform(0.015, 0.09),
    )


def skin_albedo(person: Person, material: Material) -> Floats:
    """(V, 3) linear: palms lighter and pinker, knuckles and fingertips redder."""
    palm, knuckle, tip = material.palm[:, None], material.knuckle[:, None], material.fingertip[:, None]
    albedo = person.skin * (1 + palm * (0.08 + 0.75 * person.darkness**1.5))
    albedo = albedo * (1 + person.redness * knuckle * np.array([-0.06, -0.17, -0.16]))
    albedo = albedo * (1 + person.redness * tip * np.array([0.05, -0.07, -0.05]))
    return np.minimum(albedo, 0.92)


def sleeve_girth(person: Person) -> Floats:
    """(2, stations): how much wider clothes make each arm."""
    covered = ARM_STATIONS_M[None] > person.surface.sleeve_from_m[:, None]
    return np.where(covered, 1.20, 1.0)


def sample_lights(person: Person, rng: np.random.Generator) -> Lights:
    """One to three lamps in front of or beside the hands, mostly from above, and light from all around."""
    count = int(rng.integers(1, 4))
    directions = rng.normal(size=(count, 3))
    directions[:, 2] = -np.abs(directions[:, 2]) - 0.3  # from the camera's side
    directions[0, 1] -= 0.7  # up
    directions = np.stack([unit(direction) for direction in directions])
    warmth = rng.normal(0, 0.07, (count, 1)) * np.array([[1.0, 0.0, -1.2]])
    colours = rng.uniform(0.25, 1.0, (count, 1)) * (1 + warmth)
    colours[0] *= 1.5  # the one that casts the shadow leads
    colours *= rng.uniform(0.65, 1.0) / colours.sum(axis=0).mean()
    ambient = rng.uniform(0.14, 0.45) * (1 + rng.normal(0, 0.05, 3))
    return Lights(directions, colours, ambient, person.gloss, person.specular)


def sample_exposure(rng: np.random.Generator) -> Exposure:
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
    develop(
        linear,
        exposure.gains.astype(np.float32),
        _tone_curve(exposure.gamma, exposure.contrast),
        noise_bank(),
        exposure.noise_start,
        (np.float32(exposure.read_noise), np.float32(exposure.shot_noise)),
        exposure.gray,
        out,
    )
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
