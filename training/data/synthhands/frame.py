"""From (capture, frame) to finished pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import cv2
import numpy as np

from runtime.hand.hand_model import HandPair, load_hand_models
from training.data.synthhands import schedule
from training.data.synthhands.arrays import Bytes, Float32s, Floats
from training.data.synthhands.drawing.canvas import draw_canvas
from training.data.synthhands.drawing.layout import AT
from training.data.synthhands.drawing.looks import noise_bank, sample_looks
from training.data.synthhands.drawing.meshes import build_mesh, coarse_vertices
from training.data.synthhands.drawing.paint import Palette
from training.data.synthhands.drawing.raster import Mesh
from training.data.synthhands.drawing.renderer import LEVELS, Renderer, Seen, shadow_transforms, view_rows
from training.data.synthhands.drawing.skin_texture import skin_texture
from training.data.synthhands.scene.body import ARM_STATIONS_M
from training.data.synthhands.scene.cameras import Camera, View, choose_views
from training.data.synthhands.scene.scene import JOINT_RADII_M, Scene, Subject, build_subject, sample_scene
from training.data.synthhands.schedule import Stream, Trait, place
from training.data.synthhands.table import CATEGORIES, Table

_SCENE_TRIES = 60
_SHADOW_STATIONS = int((ARM_STATIONS_M < 0.25).sum())
SPHERES = 2 * (len(JOINT_RADII_M) + len(ARM_STATIONS_M))


@dataclass(frozen=True, eq=False)
class Studio:
    """What every frame needs, built once per process."""

    table: Table
    models: HandPair
    mesh: Mesh
    renderer: Renderer
    photographs: tuple[Path, ...] = ()  # the user's, for backgrounds


@dataclass(frozen=True)
class Frame:
    """A moment: a scene, and the views of it."""

    capture: int
    frame: int
    subject: Subject
    scene: Scene
    views: tuple[View, ...]

    @property
    def sequence(self) -> str:
        return f"Synth_{self.scene.hand_type}"

    def file_name(self, camera: Camera) -> str:
        """Below images/{split}."""
        return f"Capture{self.capture}/{self.sequence}/cam{camera.name}/image{self.frame}.jpg"

    def trait(self, trait: Trait, view: int) -> float:
        """The place of one view's trait."""
        return place(trait, self.capture, self.frame * len(self.views) + view)


@dataclass(frozen=True)
class Picture:
    view: View
    category: str  # of table.CATEGORIES
    labels: Bytes  # (H, W) parts seen, as in paint
    jpeg: bytes


@cache
def build_studio(table: Table, photographs: tuple[Path, ...] = ()) -> Studio:
    """The embedded hands and their mesh."""
    models = load_hand_models()
    mesh = build_mesh(models)
    return Studio(table, models, mesh, Renderer(mesh, noise_bank()), photographs)


def make_frame(studio: Studio, capture: int, frame: int, views: int = schedule.FRAME_VIEWS) -> Frame:
    """The scene of a frame and its views."""
    table = studio.table
    subject = build_subject(studio.models, table, capture, frame // schedule.SUBJECT_FRAMES)
    for attempt in range(_SCENE_TRIES):
        rng = schedule.random_stream(table, Stream.SCENE, capture, frame, attempt)
        scene = sample_scene(table, subject, capture, frame, rng)
        rng = schedule.random_stream(table, Stream.VIEWS, capture, frame, attempt)
        chosen = choose_views(table, scene, capture, frame, views, rng)
        if chosen is not None:
            return Frame(capture, frame, subject, scene, chosen)
    raise RuntimeError(f"no scene of capture {capture}, frame {frame} can be seen by {views} cameras")


def texture_of(studio: Studio, frame: Frame) -> Float32s:
    """(1, 2, H, W): the skin of a frame's person."""
    return _texture(studio, frame.capture, frame.frame // schedule.SUBJECT_FRAMES)


@lru_cache(maxsize=4)
def _texture(studio: Studio, capture: int, group: int) -> Float32s:
    rng = schedule.random_stream(studio.table, Stream.SUBJECT, capture, group, attempt=1)
    return skin_texture(build_subject(studio.models, studio.table, capture, group).rig, studio.table.worn, rng)[None]


def canvas_of(studio: Studio, frame: Frame) -> tuple[Bytes, bool]:
    """(1, H, W, 3): what is behind a frame's hands; and whether other people's hands are."""
    table = studio.table
    rng = schedule.random_stream(table, Stream.BACKGROUND, frame.capture, frame.frame)
    sharp = place(Trait.SHARP, frame.capture, frame.frame) < table.sharp
    canvas = draw_canvas(table, sharp, studio.photographs, rng)[None]
    strange = place(Trait.STRANGERS, frame.capture, frame.frame)
    # Only behind hands: in a picture without any, these would be the hands.
    if not frame.scene.hands or strange >= table.strangers / (1 - table.empty):
        return canvas, False
    return _with_strangers(studio, canvas, frame, rng), True


def _with_strangers(studio: Studio, canvas: Bytes, frame: Frame, rng: np.random.Generator) -> Bytes:
    """The canvas with another person's hands on it: of the frame half a capture later, drawn by the same renderer."""
    other = make_frame(studio, frame.capture, (frame.frame + schedule.CAPTURE_FRAMES // 2) % schedule.CAPTURE_FRAMES, 1)
    size = np.array([canvas.shape[2], canvas.shape[1]], float)
    camera = other.views[0].camera
    linear = np.diag(camera.pinhole.focal_px)[None] * rng.uniform(0.6, 1.1)
    offset = size * rng.uniform(0.2, 0.8, (1, 2))
    looks = sample_looks(studio.table, size[None], other.scene.sleeves_m[None], no_traits(1), rng)
    looks[:, AT["canvas_at"] : AT["canvas_at"] + 6] = 1, 0, 0, 0, 1, 0
    looks[:, AT["canvas_gain"] : AT["canvas_gain"] + 3] = 1
    seen = see([other.scene], [camera], linear, offset, looks, studio)
    palette = Palette(looks, texture_of(studio, other), canvas, LEVELS)
    return np.array(studio.renderer.draw(seen, palette, (canvas.shape[2], canvas.shape[1]))[0])


def no_traits(count: int) -> dict[str, Floats]:
    """Nothing that is there in a share of pictures only."""
    return {name: np.ones(count) for name in ("adorned", "bodies", "covered")}


def see(
    scenes: list[Scene], cameras: list[Camera], linear: Floats, offset: Floats, looks: Float32s, studio: Studio
) -> Seen:
    """What the renderer takes of scenes, seen by a camera each and drawn at `linear` @ (x, y) / depth + `offset`."""
    coarse, shown = zip(*(coarse_vertices(scene, studio.models) for scene in scenes), strict=True)
    rotations, positions = (np.stack([getattr(c, name) for c in cameras]) for name in ("rotation", "position_m"))
    spheres = np.stack([spheres_of(scene) for scene in scenes])
    spheres, to_light = light_geometry(spheres, rotations, positions, looks)
    views = view_rows(rotations, positions, linear, offset)
    return Seen(np.stack(coarse), np.stack(shown), spheres, views, to_light)


def spheres_of(scene: Scene) -> Float32s:
    """(SPHERES, 4) of both sides, world and radius, m; radius 0 where there is no hand."""
    spheres = np.zeros((2, SPHERES // 2, 4), np.float32)
    for hand in scene.hands:
        spheres[hand.side, :, :3] = np.concatenate([hand.joints, hand.arm.centres])
        spheres[hand.side, :, 3] = np.concatenate([JOINT_RADII_M, hand.arm.radii_m])
    return spheres.reshape(-1, 4)


def light_geometry(
    spheres: Float32s, rotations: Floats, positions: Floats, looks: Float32s
) -> tuple[Float32s, Float32s]:
    """Spheres (B, SPHERES, 4) in camera axes, and the way to their shadow map (B, 3, 4)."""
    seen = np.array(spheres, np.float32)
    seen[..., :3] = (spheres[..., :3] - positions[:, None]) @ rotations.transpose(0, 2, 1)
    near = np.tile(np.arange(SPHERES // 2) < len(JOINT_RADII_M) + _SHADOW_STATIONS, 2)
    lights = looks[:, AT["lights"] : AT["lights"] + 3].astype(np.float64)
    return seen, shadow_transforms(seen[:, near], lights)


def draw_frame(studio: Studio, frame: Frame) -> Iterator[Picture]:
    """The pictures of a frame, in the order of its views."""
    table, texture = studio.table, texture_of(studio, frame)
    canvas, strangers = canvas_of(studio, frame)
    for number, view in enumerate(frame.views):
        rng = schedule.random_stream(table, Stream.LOOK, frame.capture, frame.frame, number)
        traits = {
            name: np.array([frame.trait(trait, number)])
            for name, trait in (("adorned", Trait.ADORNED), ("bodies", Trait.BODIES), ("covered", Trait.COVERED))
        }
        pinhole = view.camera.pinhole
        share = rng.uniform(*table.resolution) if rng.random() < table.coarse else 1.0
        size = np.maximum(np.round(share * np.array(pinhole.size_px)), 1)
        share_px = size / pinhole.size_px
        looks = sample_looks(table, size[None], frame.scene.sleeves_m[None], traits, rng)
        linear, offset = np.diag(pinhole.focal_px * share_px)[None], (pinhole.principal_px * share_px)[None]
        seen = see([frame.scene], [view.camera], linear, offset, looks, studio)
        palette = Palette(looks, texture, canvas, LEVELS)
        rgb, _, labels = (a[0] for a in studio.renderer.draw(seen, palette, tuple(size.astype(int).tolist())))
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        if share < 1:
            bgr = cv2.resize(bgr, pinhole.size_px, interpolation=cv2.INTER_LINEAR)
            labels = cv2.resize(labels, pinhole.size_px, interpolation=cv2.INTER_NEAREST)
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(*table.jpeg))]
        shows = view.shows | {frame.scene.kind, "hands touching"} | ({"others' hands"} if strangers else set())
        if any(hand.thing is not None for hand in frame.scene.hands):
            shows |= {"holding"}
        if frame.scene.hands and traits["adorned"][0] < table.ringed / 2 + table.watched:
            shows |= {"ring or watch"}
        category = next(name for name in CATEGORIES if name in shows)
        yield Picture(view, category, np.array(labels), cv2.imencode(".jpg", bgr, quality)[1].tobytes())
