"""The virtual body the hands belong to: which way hands come from, and where arms run.

World axes, as a camera straight in front of the person sees them: x right, y down, z away. The person's right hand is
on the picture's left; arms come from below, outside and behind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.data.synthhands.arrays import Floats
from training.data.synthhands.scene.posable import Rig, across, unit

_FOREARM = unit(np.array([-0.55, 0.65, 0.45]))
# Unit vectors knuckles -> wrist that a hand has on average: right, left.
FOREARM_DIRECTIONS: Floats = np.stack([_FOREARM, _FOREARM * [-1, 1, 1]])

# Arm stations: distance from the wrist's edge, m; girth in wrist radii; how far the wrist's flat section is rounded.
_STATIONS_MM = (10, 28, 52, 82, 118, 158, 200, 242, 285, 335, 400, 480, 580, 720, 900)
ARM_STATIONS_M: Floats = np.array(_STATIONS_MM) / 1000
_GIRTH_AT_M = (0.0, 0.03, 0.08, 0.15, 0.21, 0.27, 0.58)
_GIRTH = (1.0, 0.99, 1.10, 1.38, 1.46, 1.42, 1.70)
_WRIST_BEND_M = 0.045
_ELBOW_M = (0.205, 0.30)
WRIST_RADIUS_M = 0.026


@dataclass(frozen=True)
class Arm:
    """One arm's centre line from the wrist to beyond the elbow, metres, world."""

    centres: Floats  # (len(ARM_STATIONS_M), 3)
    tangents: Floats  # same, unit, away from the hand
    girth: Floats  # (len(ARM_STATIONS_M),) in wrist radii

    @property
    def radii_m(self) -> Floats:
        return self.girth * WRIST_RADIUS_M


def sample_arm(home: Floats, wrist: Floats, wrist_axis: Floats, rng: np.random.Generator) -> Arm:
    """An arm from `wrist` (3,): leaves the hand along `wrist_axis`, bends towards `home`, and again at the elbow."""
    forearm = unit(0.8 * wrist_axis + 0.5 * home + rng.normal(0, 0.10, 3))
    upper = unit(0.6 * forearm + home * [0.5, 0.9, 0.7])
    fine_m = np.linspace(0, ARM_STATIONS_M[-1], 181)
    bend = _smooth_step(fine_m / _WRIST_BEND_M)[:, None]
    elbow = _smooth_step((fine_m - _ELBOW_M[0]) / (_ELBOW_M[1] - _ELBOW_M[0]))[:, None]
    tangents = (wrist_axis * (1 - bend) + forearm * bend) * (1 - elbow) + upper * elbow
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    line = wrist + np.concatenate([np.zeros((1, 3)), np.cumsum(tangents[:-1] + tangents[1:], axis=0) / 2 * fine_m[1]])
    at = [np.interp(ARM_STATIONS_M, fine_m, column) for column in (*line.T, *tangents.T)]
    girth = np.interp(ARM_STATIONS_M, _GIRTH_AT_M, _GIRTH) * rng.uniform(0.95, 1.08)
    return Arm(np.stack(at[:3], axis=1), np.stack([unit(t) for t in np.stack(at[3:], axis=1)]), girth)


def hand_turn(rig: Rig, wrist_axis: Floats, pronation_deg: float) -> Floats:
    """The right hand's root rotation (3, 3): knuckles -> wrist along `wrist_axis`, palm turned about it.

    At 0 degrees the palm faces the body's middle; positive turns it away from the body (pronation). For a left hand
    mirror the axis before and the result after.
    """
    middle = np.array([1.0, 0.0, 0.0])
    neutral = across(middle, wrist_axis)
    angle = np.deg2rad(pronation_deg)
    palm = np.cos(angle) * neutral + np.sin(angle) * np.cross(wrist_axis, neutral)
    return np.stack([wrist_axis, palm, np.cross(wrist_axis, palm)], axis=1) @ rig.axes.T


def tilted(direction: Floats, spread_deg: float, limit_deg: float, rng: np.random.Generator) -> Floats:
    """A unit vector at a random angle, at most `limit_deg`, from `direction`."""
    angle = np.deg2rad(min(abs(rng.normal(0, spread_deg)), limit_deg))
    return np.cos(angle) * direction + np.sin(angle) * across(rng.normal(size=3), direction)


def _smooth_step(x: Floats) -> Floats:
    clipped = np.clip(x, 0, 1)
    return clipped * clipped * (3 - 2 * clipped)
