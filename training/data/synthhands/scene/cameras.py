"""Where pictures of a scene are taken from, and with what lens.

Most cameras stand in front of the person, or where their own eyes are. A view is kept when the hands are in the picture
(or cut by its edge, where that is wanted), neither is hidden too far, no arm runs into the camera, and none ends in the
picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np

from training.data.synthhands.arrays import Floats
from training.data.synthhands.scene.contact import hidden_share
from training.data.synthhands.scene.posable import unit
from training.data.synthhands.scene.scene import Scene
from training.data.synthhands.schedule import Trait, place
from training.data.synthhands.table import Table

LONG_PX, SHORT_PX = 512, 334
BOX_GROWTH = 1.2  # InterHand2.6M's boxes are those of the joints, grown about their centre
MIN_VISIBLE = 0.30  # of each hand's joints
_BORDER_PX = 5.0
_MIN_INSIDE = 0.5  # of the joints of a hand that is cut
_ARM_AT_CAMERA = 0.88  # cosine: arms closer than this to the line of sight, coming at the camera, are refused
_NEAREST_M = 0.14  # of anything to the camera
_TRIES = 24


@dataclass(frozen=True)
class Camera:
    """One whose lens does not distort."""

    name: str
    position_m: Floats  # (3,) world
    rotation: Floats  # (3, 3) world -> camera
    focal_px: Floats  # (2,)
    principal_px: Floats  # (2,)
    size_px: tuple[int, int]  # width, height

    def see(self, points: Floats) -> Floats:
        """World points (..., 3), m -> camera space."""
        return (points - self.position_m) @ self.rotation.T

    def project(self, points: Floats) -> Floats:
        """World points (..., 3), m -> pixels (..., 2)."""
        seen = self.see(points)
        return seen[..., :2] / seen[..., 2:] * self.focal_px + self.principal_px


@dataclass(frozen=True)
class View(Camera):
    """What a camera is kept for."""

    box: Floats  # (4,) x, y, width, height: as annotated
    hidden: float  # share of the hands' joints that something is in front of
    shows: set[str]  # of table.CATEGORIES: what the camera makes the picture an example of


def choose_views(
    table: Table, scene: Scene, capture: int, frame: int, count: int, rng: np.random.Generator
) -> tuple[View, ...] | None:
    """`count` views of a scene, or None where too few are worth keeping.

    Of touching pairs, half of the views are the one of three in which the hands hide each other most.
    """
    views = []
    for number in range(frame * count, (frame + 1) * count):
        wanted = 3 if scene.kind not in ("hands apart", "one hand", "no hand") and number % 2 else 1
        found = (_sample_view(table, scene, capture, number, attempt, rng) for attempt in range(_TRIES))
        kept = list(islice((view for view in found if view is not None), wanted))
        if not kept:
            return None
        views.append(max(kept, key=lambda view: view.hidden))
    return tuple(views)


def _sample_view(
    table: Table, scene: Scene, capture: int, number: int, attempt: int, rng: np.random.Generator
) -> View | None:
    """A view with the traits of this picture of the capture; None where it is not worth keeping."""
    stand = place(Trait.STAND, capture, number)
    if stand < table.own_view:
        name, azimuth, elevation = "own view", 180 + rng.normal(0, 35), rng.uniform(5, 85)
    elif stand < table.own_view + table.above:
        name, azimuth, elevation = "from above", rng.uniform(-180, 180), rng.uniform(50, 89)
    elif stand < table.own_view + table.above + table.anywhere:
        name, azimuth, elevation = "from anywhere", rng.uniform(-180, 180), np.rad2deg(np.arcsin(rng.uniform(-0.7, 1)))
    else:
        name, azimuth, elevation = "front", _limited(rng, 0, 30, 75), _limited(rng, 14, 20, 55)
    shares = {Trait.TURN: table.turned, Trait.DISTANCE: table.near, Trait.CUT: table.cut, Trait.LOOSE: table.loose}
    turned, near, cut, loose = (place(trait, capture, number) < share for trait, share in shares.items())
    roll = rng.uniform(-180, 180) if turned else _limited(rng, 0, 11, 30)

    joints = scene.joints
    low, high = joints.min(axis=0), joints.max(axis=0)
    level = np.cos(np.deg2rad(elevation))
    around = np.deg2rad(azimuth)
    outward = np.array([np.sin(around) * level, -np.sin(np.deg2rad(elevation)), -np.cos(around) * level])
    # Where hands do not fit, the camera steps back from try to try.
    distance = rng.uniform(*(table.near_m if near else table.far_m)) * 1.07**attempt
    centre = (low + high) / 2
    position = (centre + outward * distance).round(7)
    size = (SHORT_PX, LONG_PX) if rng.random() < 0.5 else (LONG_PX, SHORT_PX)
    rotation = _looking(position, centre, np.deg2rad(roll))
    seen = (joints - position) @ rotation.T
    if seen[:, 2].min() < _NEAREST_M:
        return None
    half = np.abs(seen[:, :2] / seen[:, 2:]).max()
    focal = rng.uniform(*(table.near_focal if near else table.far_focal)) * LONG_PX
    focal = min(focal, rng.uniform(*table.fill) * SHORT_PX / 2 / half) if table.fill[0] < table.fill[1] else focal
    room = np.array(size) / 2 - half * focal
    beside = rng.uniform(-1, 1, 2) * np.maximum(room, 0) * (0.7 if table.cut else 0.15)
    if cut:
        axis = int(rng.integers(2))
        beside[axis] = rng.choice([-1.0, 1.0]) * (room[axis] + half * focal * rng.uniform(0.1, 0.9))
    # The camera looks past the hands, so that they are seen as a lens shows what is beside its axis.
    aim = centre - distance / focal * (beside @ rotation[:2])
    rotation = _looking(position, aim, np.deg2rad(roll))
    focal_px = (focal * np.array([1.0, rng.uniform(0.995, 1.005)])).round(3)
    principal_px = (np.array(size) / 2 + rng.normal(0, 5, 2)).round(3)
    camera = Camera(str(400_000 + number), position, rotation, focal_px, principal_px, size)
    shows = {name, *(["turned"] * turned), *(["cut by the edge"] * cut)}
    if not scene.hands:
        side = rng.uniform(0.25, 0.9) * SHORT_PX
        corner = rng.uniform(0.2, 0.8, 2) * size - side / 2
        return View(**vars(camera), box=np.array([*corner, side, side]), hidden=0.0, shows=shows)
    hidden = _hidden(scene, camera, cut)
    if hidden is None:
        return None
    return View(**vars(camera), box=_box(camera, joints, cut, loose, rng), hidden=hidden, shows=shows)


def _looking(position: Floats, aim: Floats, roll: float) -> Floats:
    """The rotation (3, 3) world -> camera of one that looks at a point, turned about its axis."""
    ahead = unit(aim - position)
    right = unit(np.array([ahead[2], 0.0, -ahead[0]]) if ahead[1] ** 2 < 0.9999 else np.array([1.0, 0.0, 0.0]))
    down = np.array([ahead[1] * right[2], ahead[2] * right[0] - ahead[0] * right[2], -ahead[1] * right[0]])
    cos, sin = np.cos(roll), np.sin(roll)
    return np.stack([cos * right + sin * down, cos * down - sin * right, ahead])


def _limited(rng: np.random.Generator, mean: float, spread: float, limit: float) -> float:
    return min(max(rng.normal(mean, spread), -limit), limit)


def _hidden(scene: Scene, camera: Camera, cut: bool) -> float | None:
    """The share of the hands' joints that is hidden; None where the view is not worth keeping."""
    size, hidden = np.array(camera.size_px), []
    for hand in scene.hands:
        pixels = camera.project(hand.joints)
        border = 0.0 if cut else _BORDER_PX
        inside = ((pixels >= border) & (pixels <= size - border)).all(axis=1).mean()
        if inside < (_MIN_INSIDE if cut else 1):
            return None
        arm = hand.arm.centres
        if unit(arm[6] - arm[0]) @ unit(camera.position_m - arm[6]) > _ARM_AT_CAMERA:
            return None
        if np.sqrt(((arm - camera.position_m) ** 2).sum(axis=1)).min() < _NEAREST_M:
            return None
        end = camera.see(arm[-1])
        if end[2] > 0.1:
            radius_px = hand.arm.radii_m[-1] / end[2] * camera.focal_px[0]
            pixel = camera.project(arm[-1])
            if (pixel > -radius_px).all() and (pixel < size + radius_px).all():
                return None
        spheres = [other.spheres for other in scene.hands if other is not hand]
        spheres.append(hand.spheres[len(hand.joints) + 1 :])  # its arm, but for what lies within the wrist
        hidden.append(hidden_share(hand.joints, camera.position_m, np.concatenate(spheres)))
    return float(np.mean(hidden)) if max(hidden) <= 1 - MIN_VISIBLE else None


def _box(camera: Camera, joints: Floats, cut: bool, loose: bool, rng: np.random.Generator) -> Floats:
    """The joints' box; of what is in the picture, where its edge cuts; wrong by a fifth or so, where it is loose."""
    pixels = camera.project(joints)
    if cut:
        pixels = np.clip(pixels, 0, camera.size_px)
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    centre, extent = (low + high) / 2, (high - low) * BOX_GROWTH
    if loose:
        centre = centre + rng.uniform(-0.18, 0.18, 2) * extent.max()
        extent = extent * np.exp(rng.uniform(-0.25, 0.6)) * np.exp(rng.uniform(-0.1, 0.1, 2))
    return np.concatenate([centre - extent / 2, extent])
