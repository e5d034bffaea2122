"""From (capture, frame) to finished pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

import cv2
import numpy as np

from runtime.hand.hand_model import HandPair, load_hand_models
from training.data.synthhands import schedule
from training.data.synthhands.arrays import Bytes, Float32s, Floats
from training.data.synthhands.drawing.canvas import CANVAS_PX, draw_canvas
from training.data.synthhands.drawing.layout import put
from training.data.synthhands.drawing.looks import TRAITS, sample_looks
from training.data.synthhands.drawing.meshes import build_mesh, coarse_vertices
from training.data.synthhands.drawing.renderer import Renderer, Seen
from training.data.synthhands.drawing.skin_texture import skin_texture
from training.data.synthhands.scene.body import ARM_STATIONS_M
from training.data.synthhands.scene.cameras import Camera, View, choose_views
from training.data.synthhands.scene.scene import JOINT_RADII_M, Scene, Subject, build_subject, sample_scene
from training.data.synthhands.schedule import Stream, Trait, place
from training.data.synthhands.table import CATEGORIES, Table

_SCENE_TRIES = 60
# Of the spheres of both sides: whether they hold what casts shadows.
CASTS = np.tile(np.concatenate([np.full(len(JOINT_RADII_M), True), ARM_STATIONS_M < 0.25]), 2)


@dataclass(frozen=True, eq=False)
class Studio:
    """What every frame needs, built once per process."""

    table: Table
    models: HandPair
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


@dataclass(frozen=True)
class Picture:
    view: View
    category: str  # of table.CATEGORIES
    jpeg: bytes


@cache
def build_studio(table: Table, photographs: tuple[Path, ...] = ()) -> Studio:
    """The embedded hands and their mesh."""
    models = load_hand_models()
    return Studio(table, models, Renderer(build_mesh(models)), photographs)


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


@lru_cache(maxsize=4)
def texture_of(studio: Studio, subject: Subject) -> Float32s:
    """(1, 2, H, W): a person's skin."""
    rng = schedule.random_stream(studio.table, Stream.SUBJECT, subject.capture, subject.group, attempt=1)
    return skin_texture(subject.rig, studio.table.worn, rng)[None]


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
    scale, offset = rng.uniform(0.6, 1.1), CANVAS_PX * rng.uniform(0.2, 0.8, (1, 2))
    size = np.full((1, 2), float(CANVAS_PX))
    looks = sample_looks(studio.table, size, other.scene.sleeves_m[None], {}, rng)
    put(looks, "canvas_at", (1, 0, 0, 0, 1, 0))
    put(looks, "canvas_gain", (1, 1, 1))
    seen = replace(see(studio, other.scene, other.views[0], scale), offset=offset)
    return np.array(
        studio.renderer.draw(seen, looks, texture_of(studio, other.subject), canvas, (CANVAS_PX, CANVAS_PX))[0]
    )


def see(studio: Studio, scene: Scene, camera: Camera, scale: float | Floats = 1.0) -> Seen:
    """A scene for the renderer, its picture of `scale` times as many pixels as the camera's."""
    coarse, shown = coarse_vertices(scene, studio.models)
    linear, offset = np.diag(camera.focal_px * scale)[None], (camera.principal_px * scale)[None]
    spheres, rotation, position = spheres_of(scene)[None], camera.rotation[None], camera.position_m[None]
    return Seen(coarse[None], shown[None], spheres, CASTS, rotation, position, linear, offset)


def spheres_of(scene: Scene) -> Float32s:
    """(N, 4) of both sides, world and radius, m; radius 0 where there is no hand."""
    spheres = np.zeros((2, len(CASTS) // 2, 4), np.float32)
    for hand in scene.hands:
        spheres[hand.side] = hand.spheres
    return spheres.reshape(-1, 4)


def draw_frame(studio: Studio, frame: Frame) -> Iterator[Picture]:
    """The pictures of a frame, in the order of its views."""
    table, texture = studio.table, texture_of(studio, frame.subject)
    canvas, strangers = canvas_of(studio, frame)
    for number, view in enumerate(frame.views):
        rng = schedule.random_stream(table, Stream.LOOK, frame.capture, frame.frame, number)
        of_view = frame.frame * len(frame.views) + number
        traits = {name: np.array([place(Trait[name.upper()], frame.capture, of_view)]) for name in TRAITS}
        full_px = view.size_px
        share = rng.uniform(*table.resolution) if rng.random() < table.coarse else 1.0
        size = np.maximum(np.round(share * np.array(full_px)), 1)
        looks = sample_looks(table, size[None], frame.scene.sleeves_m[None], traits, rng)
        seen = see(studio, frame.scene, view, size / full_px)
        picture = studio.renderer.draw(seen, looks, texture, canvas, tuple(size.astype(int).tolist()))[0]
        bgr = cv2.cvtColor(picture[0], cv2.COLOR_RGB2BGR)
        if share < 1:
            bgr = cv2.resize(bgr, full_px, interpolation=cv2.INTER_LINEAR)
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(*table.jpeg))]
        shows = view.shows | {frame.scene.kind, "hands touching"} | ({"others' hands"} if strangers else set())
        if any(hand.thing is not None for hand in frame.scene.hands):
            shows |= {"holding"}
        if frame.scene.hands and traits["adorned"][0] < table.ringed / 2 + table.watched:
            shows |= {"ring or watch"}
        category = next(name for name in CATEGORIES if name in shows)
        yield Picture(view, category, cv2.imencode(".jpg", bgr, quality)[1].tobytes())
