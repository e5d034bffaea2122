"""How a picture looks: a person's skin and clothes, and the lights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.data.synthhands import schedule
from training.data.synthhands.arrays import Floats
from training.data.synthhands.drawing import skin_texture
from training.data.synthhands.drawing.background import muted_colour
from training.data.synthhands.drawing.meshes import Material
from training.data.synthhands.drawing.shading import Lights, Surface
from training.data.synthhands.scene.body import ARM_STATIONS_M
from training.data.synthhands.scene.posable import Rig, unit

# Linear albedo from light to dark skin.
_LIGHT, _FAIR, _OLIVE = (0.78, 0.55, 0.44), (0.69, 0.46, 0.35), (0.58, 0.36, 0.25)
_BROWN, _DARK, _DARKEST = (0.43, 0.25, 0.165), (0.28, 0.155, 0.10), (0.165, 0.088, 0.058)
_TONES = np.array([_LIGHT, _FAIR, _OLIVE, _BROWN, _DARK, _DARKEST])
_NAIL = np.array([0.80, 0.56, 0.50])
_SLEEVED_SHARE = 0.45
_NO_SLEEVE_M = 10.0


@dataclass(frozen=True)
class Person:
    """One subject's looks, the same in all their pictures."""

    skin: Floats  # (3,) linear albedo
    darkness: float  # 0 light .. 1 dark
    redness: float
    surface: Surface


def sample_person(rig: Rig, capture: int, frame: int) -> Person:
    """The looks of the person seen in a frame."""
    rng = schedule.random_stream(schedule.Stream.SUBJECT, capture, frame // schedule.SUBJECT_FRAMES, attempt=1)
    tone = rng.uniform(0, len(_TONES) - 1)
    low = min(int(tone), len(_TONES) - 2)
    skin = _TONES[low] * (low + 1 - tone) + _TONES[low + 1] * (tone - low)
    skin = skin * rng.uniform(0.92, 1.08) * (1 + rng.normal(0, 0.02, 3))
    darkness = tone / (len(_TONES) - 1)
    sleeved = rng.random() < _SLEEVED_SHARE
    start = rng.uniform(0.012, 0.14)
    # The order of drawing is part of what makes a person.
    texture = skin_texture.skin_texture(rig, rng)
    sleeve_from_m = start + rng.normal(0, 0.006, 2) if sleeved else np.full(2, _NO_SLEEVE_M)
    sleeve_colour = muted_colour(rng, 0.3)
    nail_colour = (skin * 0.62 + _NAIL * (0.36 - 0.12 * darkness)) * rng.uniform(0.9, 1.08, 3)
    redness, gloss, specular = rng.uniform(0.5, 1.5), rng.uniform(14, 60), rng.uniform(0.015, 0.09)
    place = np.array([*skin_texture.ORIGIN_M, skin_texture.PX_PER_M])
    surface = Surface(texture, place, sleeve_from_m, sleeve_colour, nail_colour, gloss, specular)
    return Person(skin, darkness, redness, surface)


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


def sample_lights(rng: np.random.Generator) -> Lights:
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
    return Lights(directions, colours, ambient)
