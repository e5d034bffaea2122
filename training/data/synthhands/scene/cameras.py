"""The cameras of a capture, and which of them see a frame.

Most cameras stand in front of the virtual person, upright, so that hands look the way they do in any real capture: the
right one from the picture's left. A few stand anywhere. A view is kept when both hands come from where the body has
them (rare views aside), the hands are inside the picture, neither is hidden too far, and no arm points at the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.data.synthhands import schedule
from training.data.synthhands.arrays import Floats
from training.data.synthhands.drawing.meshes import DrawnMesh
from training.data.synthhands.drawing.rasteriser import Pinhole, part_coverage
from training.data.synthhands.scene.body import ORIENTATION_LIMIT_DEG, orientation_error_deg
from training.data.synthhands.scene.posable import unit
from training.data.synthhands.scene.scene import Scene

FRONT_CAMERAS, RARE_CAMERAS = 28, 10
RARE_SHARE = 0.05  # of the views
DISTANCE_M = (1.30, 1.60)
FOCAL_PX = (1200.0, 1350.0)
LONG_PX, SHORT_PX = 512, 334
ROLL_LIMIT_DEG = 30.0
_AZIMUTH_DEG, _ELEVATION_DEG, _ROLL_DEG = (0.0, 30.0, 75.0), (14.0, 20.0, 55.0), (0.0, 11.0, ROLL_LIMIT_DEG)

MIN_VISIBLE = 0.30  # of each hand's outline
_BORDER_PX = 5.0
_ARM_AT_CAMERA = 0.80  # cosine: arms closer than this to the line of sight, coming at the camera, are refused
_PREVIEW = 0.25  # size of the preview that visibility is measured on


@dataclass(frozen=True)
class Camera:
    name: str
    position_m: Floats  # (3,) world
    rotation: Floats  # (3, 3) world -> camera
    pinhole: Pinhole
    rare: bool

    def see(self, points: Floats) -> Floats:
        """World points (..., 3), m -> camera space."""
        return (points - self.position_m) @ self.rotation.T


@dataclass(frozen=True)
class View:
    camera: Camera
    hidden: float  # share of the two hands' outlines that something is in front of


def capture_cameras(capture: int) -> tuple[Camera, ...]:
    """All cameras of a capture; the rare ones are last."""
    rng = schedule.random_stream(schedule.Stream.CAMERAS, capture)
    cameras = []
    for index in range(FRONT_CAMERAS + RARE_CAMERAS):
        rare = index >= FRONT_CAMERAS
        if rare:
            azimuth, roll = rng.uniform(-np.pi, np.pi), rng.uniform(-np.pi, np.pi)
            elevation = np.arcsin(rng.uniform(-0.7, 1.0))
        else:
            azimuth, elevation, roll = (_limited(rng, *spread) for spread in (_AZIMUTH_DEG, _ELEVATION_DEG, _ROLL_DEG))
        cameras.append(_camera(str(400_000 + index), azimuth, elevation, roll, rare, rng))
    return tuple(cameras)


def choose_views(
    scene: Scene, cameras: tuple[Camera, ...], meshes: tuple[DrawnMesh, DrawnMesh], rng: np.random.Generator
) -> tuple[View, ...] | None:
    """`FRAME_VIEWS` different views of a scene, or None where too few cameras see it well.

    Half of a pair's views are the ones, of those looked at, in which the hands hide each other most.
    """
    coarse = [meshes[hand.side].coarse(hand.vertices, hand.arm) for hand in scene.hands]
    rare: list[View] = []
    for _ in range(int(rng.binomial(schedule.FRAME_VIEWS, RARE_SHARE))):
        order = FRONT_CAMERAS + rng.permutation(RARE_CAMERAS)
        taken = {view.camera.name for view in rare}
        found = (_view(scene, cameras[i], coarse, meshes) for i in order[:4] if cameras[i].name not in taken)
        rare += [view for view in found if view is not None][:1]
    looked_at = (_view(scene, cameras[i], coarse, meshes) for i in rng.permutation(FRONT_CAMERAS))
    common = [view for view in looked_at if view is not None]
    wanted = schedule.FRAME_VIEWS - len(rare)
    if len(common) < wanted:
        return None
    if len(scene.hands) == 2:
        occluded = sorted(common, key=lambda view: -view.hidden)[: schedule.FRAME_VIEWS // 2]
        common = occluded + [view for view in common if view not in occluded]
    chosen = [*rare, *common[:wanted]]
    return tuple(chosen[i] for i in rng.permutation(schedule.FRAME_VIEWS))


def fits_body(scene: Scene, camera: Camera) -> bool:
    """Whether the scene's hands come from where the body has them, seen by this camera."""
    errors = [orientation_error_deg(camera.rotation @ hand.wrist_direction, hand.side) for hand in scene.hands]
    return max(errors) <= ORIENTATION_LIMIT_DEG


def _limited(rng: np.random.Generator, mean: float, spread: float, limit: float) -> float:
    """A normal deviate in degrees, at most `limit` on either side of zero, as radians."""
    return float(np.deg2rad(np.clip(rng.normal(mean, spread), -limit, limit)))


def _camera(name: str, azimuth: float, elevation: float, roll: float, rare: bool, rng: np.random.Generator) -> Camera:
    level = np.cos(elevation)
    outward = np.array([np.sin(azimuth) * level, -np.sin(elevation), -np.cos(azimuth) * level])
    position: Floats = outward * rng.uniform(*DISTANCE_M)
    aim: Floats = rng.normal(0, 0.012, 3)
    ahead = unit(aim - position)
    right = unit(np.cross(np.array([0.0, 1.0, 0.0]), ahead))
    down = np.cross(ahead, right)
    turned = np.cos(roll) * right + np.sin(roll) * down, np.cos(roll) * down - np.sin(roll) * right
    size = (SHORT_PX, LONG_PX) if rng.random() < 0.5 else (LONG_PX, SHORT_PX)
    focal = rng.uniform(*FOCAL_PX)
    pinhole = Pinhole(
        focal_px=(focal * np.array([1.0, rng.uniform(0.995, 1.005)])).round(3),
        principal_px=(np.array(size) / 2 + rng.normal(0, 5, 2)).round(3),
        size_px=size,
    )
    return Camera(name, position.round(7), np.stack([*turned, ahead]), pinhole, rare)


def _view(scene: Scene, camera: Camera, coarse: list[Floats], meshes: tuple[DrawnMesh, DrawnMesh]) -> View | None:
    """The view through a camera, None where it is not worth keeping."""
    if not (camera.rare or fits_body(scene, camera)):
        return None
    for hand in scene.hands:
        towards = unit(camera.position_m - hand.arm.centres[6])
        if unit(hand.arm.centres[6] - hand.arm.centres[0]) @ towards > _ARM_AT_CAMERA:
            return None
    size = np.array(camera.pinhole.size_px)
    joints = camera.pinhole.project(camera.see(np.concatenate([hand.joints for hand in scene.hands])))
    if (joints < _BORDER_PX).any() or (joints > size - _BORDER_PX).any():
        return None
    if not _arms_leave_picture(scene, camera):
        return None
    shares = _visible_shares(scene, camera, coarse, meshes)
    if min(shares[:-1]) < MIN_VISIBLE:
        return None
    return View(camera, 1 - shares[-1])


def _arms_leave_picture(scene: Scene, camera: Camera) -> bool:
    size = np.array(camera.pinhole.size_px)
    for hand in scene.hands:
        end = camera.see(hand.arm.centres[-1])
        if end[2] <= 0.1:
            continue
        radius_px = hand.arm.radii_m[-1] / end[2] * camera.pinhole.focal_px[0]
        pixel = camera.pinhole.project(end)
        if (pixel > -radius_px).all() and (pixel < size + radius_px).all():
            return False
    return True


def _visible_shares(
    scene: Scene, camera: Camera, coarse: list[Floats], meshes: tuple[DrawnMesh, DrawnMesh]
) -> list[float]:
    """The visible share of each hand's outline, and of both together."""
    size = tuple(int(np.ceil(length * _PREVIEW)) for length in camera.pinhole.size_px)
    points = [camera.see(vertices) for vertices in coarse]
    drawn = [meshes[hand.side] for hand in scene.hands]
    starts = (0, len(points[0]))
    faces = np.concatenate([mesh.coarse_faces + np.int32(start) for mesh, start in zip(drawn, starts, strict=False)])
    parts = np.concatenate([mesh.coarse_parts for mesh in drawn])
    together = np.concatenate(points)
    pixels = camera.pinhole.project(together) * _PREVIEW
    front, covered = part_coverage(pixels, together[:, 2], faces, parts, (size[0], size[1]))
    outlines = [max(int(((covered >> (hand.side + 1)) & 1).sum()), 1) for hand in scene.hands]
    seen = [int((front == hand.side + 1).sum()) for hand in scene.hands]
    return [*(s / o for s, o in zip(seen, outlines, strict=True)), sum(seen) / sum(outlines)]
