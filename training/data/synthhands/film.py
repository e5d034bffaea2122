"""Moving pictures: one person before one camera in one light, whose hands move as they are told.

For tests and demonstrations of what runs on video. Background, light and camera stay, the sensor's noise changes from
picture to picture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from training.data.synthhands import schedule
from training.data.synthhands.arrays import Bytes, Floats
from training.data.synthhands.drawing.layout import AT
from training.data.synthhands.drawing.looks import NOISE_PX, sample_looks
from training.data.synthhands.drawing.paint import Palette
from training.data.synthhands.drawing.renderer import LEVELS
from training.data.synthhands.frame import Studio, canvas_of, make_frame, no_traits, see, texture_of
from training.data.synthhands.scene.cameras import Pinhole
from training.data.synthhands.scene.scene import PlacedHand


@dataclass(frozen=True)
class Move:
    """How a hand is moved from where its scene has it."""

    offset_m: tuple[float, float, float] = (0.0, 0.0, 0.0)  # camera axes: x right, y down, z away
    bend: float = 0.0  # 0 its own fingers' pose, 1 the flat hand's


@dataclass(frozen=True)
class Shot:
    """A picture and the truth about it."""

    rgb: Bytes  # (H, W, 3)
    joints_px: Floats  # (2, 21, 2) right, left
    joints_m: Floats  # (2, 21, 3) camera axes
    inside: tuple[float, float]  # share of each hand's joints that lie in the picture


class Film:
    """Two hands of one frame of the synthetic set, ready to be moved.

    `widen` shrinks what is in the picture, so that hands have room to move.
    """

    def __init__(self, studio: Studio, capture: int, frame: int, widen: float = 1.0) -> None:
        self._studio = studio
        self._frame = made = make_frame(studio, capture, frame)
        if len(made.scene.hands) != 2:
            raise ValueError(f"frame {frame} does not show two hands")
        camera = made.views[0].camera
        pinhole, centre = camera.pinhole, np.array(camera.pinhole.size_px) / 2
        principal = centre + (pinhole.principal_px - centre) / widen
        self.camera = replace(camera, pinhole=Pinhole(pinhole.focal_px / widen, principal, pinhole.size_px))
        rng = schedule.random_stream(studio.table, schedule.Stream.LOOK, capture, frame)
        size = np.array([pinhole.size_px], float)
        self._looks = sample_looks(studio.table, size, made.scene.sleeves_m[None], no_traits(1), rng)
        self._looks[:, AT["motion"] : AT["motion"] + 2] = 0
        self._looks[:, AT["gray"]] = 0
        self._palette = Palette(self._looks, texture_of(studio, made), canvas_of(studio, made)[0], LEVELS)
        self._noise = np.random.default_rng([capture, frame, 0])

    def shoot(self, right: Move | None, left: Move | None) -> Shot:
        """The next picture; a hand whose move is None is not there."""
        moves = (right, left)
        placed = [self._moved(hand, moves[hand.side] or Move()) for hand in self._frame.scene.hands]
        shown = tuple(hand for hand in placed if moves[hand.side] is not None)
        scene = replace(self._frame.scene, hands=shown)
        self._looks[:, AT["noise_at"] : AT["noise_at"] + 2] = self._noise.integers(NOISE_PX, size=2)
        pinhole = self.camera.pinhole
        linear, offset = np.diag(pinhole.focal_px)[None], pinhole.principal_px[None]
        view = see([scene], [self.camera], linear, offset, self._looks, self._studio)
        rgb = np.array(self._studio.renderer.draw(view, self._palette, pinhole.size_px)[0][0])
        joints = self.camera.see(np.stack([hand.joints for hand in placed]))
        pixels = self.camera.pinhole.project(joints)
        inside = ((pixels >= 0) & (pixels < self.camera.pinhole.size_px)).all(axis=-1).mean(axis=-1)
        seen = [float(share) if move is not None else 0.0 for share, move in zip(inside, moves, strict=True)]
        return Shot(rgb, pixels, joints, (seen[0], seen[1]))

    def _moved(self, hand: PlacedHand, move: Move) -> PlacedHand:
        step = np.asarray(move.offset_m) @ self.camera.rotation
        pose = hand.pose.copy()
        pose[3:] += move.bend * (-self._studio.models[hand.side].hands_mean - pose[3:])
        return hand.posed(self._studio.models[hand.side], pose, hand.translation + step)
