"""Less jitter in videos: the One-Euro filter on what a hand is made of.

Casiez, Roussel and Vogel, "1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive Systems",
CHI 2012: slow movement is smoothed much, fast movement little. Two things are not theirs. Noise moves, too, so the
speed that noise of the observed strength would show counts as none; without that, what the network is least sure of is
smoothed least. And a network's errors come in single frames: speed counts as far as two frames in a row show it, as
radar starts a track only on a confirmed plot (Blackman and Popoli, "Design and Analysis of Modern Tracking Systems",
1999). What that costs in lag, a quicker estimate of the speed and a larger gain win back.

Filtered are rotations, shape, camera and the hands' distance; mesh and joints are then made anew, so that they fit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..hand.hand_model import HandPair
from ..hand.hands import Hand, Hands, distance_in_picture
from ..hand.rotations import axis_angle_from_matrix, matrix_from_axis_angle

Values = NDArray[np.floating[Any]]

MAX_GAP_S = 0.5  # after a longer one the past says nothing
_MIN_PX_PER_M = 1e-6
_SCATTER_CUTOFF_HZ = 0.5
_NOISE_MARGIN = 4.0  # noise's share in a squared speed is taken off this many times, as it comes in bursts


@dataclass(frozen=True)
class OneEuro:
    """A filter's settings: the cutoff is `min_cutoff_hz + gain * speed`, with the speed in units per second that two
    frames confirm, less noise's."""

    min_cutoff_hz: float
    gain: float
    speed_cutoff_hz: float = 2.0


# Units: rotations in radians, positions in metres, the logarithm of the size; the shape belongs to the person.
ROTATION = OneEuro(0.8, 4.2)
POSITION = OneEuro(0.8, 25.0)
SIZE = OneEuro(0.8, 4.2)
SHAPE = OneEuro(0.1, 0.0)


class OneEuroFilter:
    """One filter for an array of vectors (..., D), each with its own speed."""

    def __init__(self, settings: OneEuro) -> None:
        self._settings = settings
        self._raw: Values | None = None
        self._smooth: Values
        self._speed: Values
        self._scatter: Values  # mean square of what speeds differ from the filtered one by
        self._pace: Values  # the last frame's

    def __call__(self, values: Values, step_s: float, unit: float = 1.0) -> Values:
        """The next values, `step_s` seconds after the last ones; speed is measured in `unit`s of theirs."""
        if self._raw is None:
            self._raw = self._smooth = values
            self._speed = np.zeros_like(self._difference(values, values))
            self._scatter = self._pace = np.zeros_like(self._speed[..., :1])
            return values
        # From raw to raw, as in the authors' code: less noise than from the smoothed value, as in the article.
        speed = self._difference(self._raw, values) / step_s
        newest = _weight(self._settings.speed_cutoff_hz, step_s)
        scatter = np.sum((speed - self._speed) ** 2, axis=-1, keepdims=True)
        self._scatter = self._scatter + _weight(_SCATTER_CUTOFF_HZ, step_s) * (scatter - self._scatter)
        self._speed = self._speed + newest * (speed - self._speed)
        # Of noise that is independent from frame to frame, the filtered speed keeps this part of the scatter.
        noise = newest**2 / (2 - newest) * self._scatter
        pace = np.sqrt(np.maximum(np.sum(self._speed**2, axis=-1, keepdims=True) - _NOISE_MARGIN * noise, 0))
        confirmed, self._pace = np.minimum(pace, self._pace), pace
        weight = _weight(self._settings.min_cutoff_hz + self._settings.gain * confirmed / unit, step_s)
        self._smooth = self._advance(self._smooth, weight * self._difference(self._smooth, values))
        self._raw = values
        return self._smooth

    def _difference(self, start: Values, end: Values) -> Values:
        return end - start

    def _advance(self, start: Values, step: Values) -> Values:
        return start + step


class RotationFilter(OneEuroFilter):
    """For rotations (..., 3, 3): differences are rotation vectors, in-between values lie on the shortest turn."""

    def _difference(self, start: Values, end: Values) -> Values:
        return axis_angle_from_matrix(np.swapaxes(start, -1, -2) @ end)

    def _advance(self, start: Values, step: Values) -> Values:
        return start @ matrix_from_axis_angle(step)


class Smoother:
    """`smoother(hands, time_s) -> Hands` for the frames of one video, in their order.

    It remembers: every video and thread needs its own. A hand that is not present is passed on as it is, and starts
    afresh when it is back; so is `joints_heatmap`, which is no part of the mesh.
    """

    def __init__(self, models: HandPair) -> None:
        self._models = models
        self._time_s: float | None = None
        self._filters: dict[tuple[str, str], OneEuroFilter] = {}  # by side, or "both", and what is filtered

    def __call__(self, hands: Hands, time_s: float) -> Hands:
        """The frame at `time_s` seconds; ValueError where that is not after the last one."""
        step_s = 0.0 if self._time_s is None else time_s - self._time_s
        if self._time_s is not None and not step_s > 0:
            raise ValueError(f"frames come in their order: {time_s} s is not after {self._time_s} s")
        if step_s > MAX_GAP_S:
            self._filters = {}
        self._time_s = time_s
        right, left = self._filtered(hands.right, step_s), self._filtered(hands.left, step_s)
        distance = hands.relative_translation if hands.together else distance_in_picture(right, left)
        if right.present and left.present and hands.together:
            distance = self._smooth(("both", "distance"), POSITION, distance, step_s).astype(np.float32)
        else:
            self._forget("both")
        rotations, shape = np.stack([right.rotations, left.rotations]), np.stack([right.shape, left.shape])
        joints, mesh = self._models.joints(rotations, shape), self._models.mesh(rotations, shape)
        right, left = (
            replace(hand, mesh=partial(mesh, i), joints=joints[i], joints_image=hand.project(joints[i]))
            if hand.present
            else hand
            for i, hand in enumerate((right, left))
        )
        return replace(hands, right=right, left=left, relative_translation=distance)

    def _filtered(self, hand: Hand, step_s: float) -> Hand:
        """The hand with its parameters filtered; its mesh is still the old one."""
        side = hand.side
        if not hand.present:
            self._forget(side)
            return hand
        px_per_m = max(float(hand.camera[0]), _MIN_PX_PER_M)
        size = self._smooth((side, "size"), SIZE, np.log([px_per_m]), step_s)
        place = self._smooth((side, "place"), POSITION, hand.camera[1:], step_s, px_per_m)
        return replace(
            hand,
            rotations=self._smooth((side, "turns"), ROTATION, hand.rotations, step_s).astype(np.float32),
            shape=self._smooth((side, "shape"), SHAPE, hand.shape, step_s).astype(np.float32),
            camera=np.asarray([np.exp(size[0]), *place], np.float32),
        )

    def _smooth(
        self, key: tuple[str, str], settings: OneEuro, values: Values, step_s: float, unit: float = 1.0
    ) -> Values:
        kind = RotationFilter if settings is ROTATION else OneEuroFilter
        return self._filters.setdefault(key, kind(settings))(values, step_s, unit)

    def _forget(self, side: str) -> None:
        self._filters = {key: known for key, known in self._filters.items() if key[0] != side}


def _weight(cutoff_hz: Any, step_s: float) -> Any:
    """What a first-order low-pass filter gives the newest value."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff_hz * step_s))
