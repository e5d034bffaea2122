"""From (capture, frame) to finished pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np

from runtime.hand.hand_model import HandPair, load_hand_models
from runtime.hand.joints import JOINT_COUNT
from training.data.synthhands import schedule
from training.data.synthhands.arrays import Bytes, Float32s
from training.data.synthhands.drawing import shading
from training.data.synthhands.drawing.background import background
from training.data.synthhands.drawing.exposure import expose, sample_exposure
from training.data.synthhands.drawing.look import Person, sample_lights, sample_person, skin_albedo, sleeve_girth
from training.data.synthhands.drawing.meshes import DrawnMesh, build_drawn_mesh, vertex_normals
from training.data.synthhands.drawing.shading import Lights, Mesh
from training.data.synthhands.scene.cameras import Camera, View, capture_cameras, choose_views
from training.data.synthhands.scene.scene import PlacedHand, Scene, Subject, build_subject, sample_scene

_SCENE_TRIES = 60
_WRIST_RADIUS_M, _JOINT_RADIUS_M = 0.024, 0.009  # of what takes light away


@dataclass(frozen=True)
class Studio:
    """What every frame needs, built once per process."""

    models: HandPair
    meshes: tuple[DrawnMesh, DrawnMesh]


@dataclass(frozen=True)
class Frame:
    """A moment: a scene, and the views of it that are kept."""

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


@dataclass(frozen=True)
class Picture:
    view: View
    linear: Float32s  # (H, W, 3) RGB before the camera's own marks
    labels: Bytes  # (H, W) parts seen, as in meshes
    jpeg: bytes


@cache
def build_studio() -> Studio:
    """The embedded hands and their drawn meshes."""
    models = load_hand_models()
    return Studio(models, (build_drawn_mesh(models[0]), build_drawn_mesh(models[1])))


def make_frame(studio: Studio, capture: int, frame: int, cameras: tuple[Camera, ...] | None = None) -> Frame:
    """The scene of a frame and the views kept of it. `cameras` are the capture's, where they are at hand."""
    cameras = capture_cameras(capture) if cameras is None else cameras
    subject = build_subject(studio.models, capture, frame)
    for attempt in range(_SCENE_TRIES):
        rng = schedule.random_stream(schedule.Stream.SCENE, capture, frame, attempt=attempt)
        scene = sample_scene(subject, schedule.hand_type(frame), rng)
        rng = schedule.random_stream(schedule.Stream.VIEWS, capture, frame, attempt=attempt)
        views = choose_views(scene, cameras, studio.meshes, rng)
        if views is not None:
            return Frame(capture, frame, subject, scene, views)
    raise RuntimeError(f"no scene of capture {capture}, frame {frame} is seen by {schedule.FRAME_VIEWS} cameras")


def person_of(frame: Frame) -> Person:
    """The looks of the frame's person."""
    return sample_person(frame.subject.rig, frame.capture, frame.frame)


def draw_frame(studio: Studio, frame: Frame, person: Person) -> Iterator[Picture]:
    """The pictures of a frame, in the order of its views."""
    model = DrawnHands(studio, frame.scene.hands, person)
    for number, view in enumerate(frame.views):
        rng = schedule.random_stream(schedule.Stream.LOOK, frame.capture, frame.frame, number)
        linear = background(view.camera.pinhole.size_px, person.skin, person.surface.sleeve_colour, rng)
        labels = model.draw(linear, view.camera, sample_lights(rng))
        exposure = sample_exposure(rng)
        quality = [cv2.IMWRITE_JPEG_QUALITY, exposure.jpeg_quality]
        encoded = cv2.imencode(".jpg", expose(linear, exposure), quality)[1]
        yield Picture(view, linear, labels, encoded.tobytes())


class DrawnHands:
    """The meshes of a scene's hands and arms, ready to be drawn from anywhere."""

    def __init__(self, studio: Studio, hands: tuple[PlacedHand, ...], person: Person) -> None:
        self.person = person
        girth = sleeve_girth(person)
        vertices, normals, faces, attributes = [], [], [], []
        count = 0
        for hand in hands:
            mesh, arm = studio.meshes[hand.side], replace(hand.arm, girth=hand.arm.girth * girth[hand.side])
            points = mesh.subdivision @ mesh.coarse(hand.vertices, arm)
            vertices.append(points)
            normals.append(vertex_normals(points, mesh.faces))
            faces.append(mesh.faces + np.int32(count))
            rows = np.zeros((len(points), shading.ATTRIBUTES), np.float32)
            rows[:, shading.ALBEDO : shading.ALBEDO + 3] = skin_albedo(person, mesh.material)
            rows[:, shading.TEXTURE : shading.TEXTURE + 2] = mesh.material.texture_m
            rows[:, shading.PALM], rows[:, shading.NAIL] = mesh.material.palm, mesh.material.nail
            rows[:, shading.ARM] = mesh.material.arm_m
            attributes.append(rows)
            count += len(points)
        self.vertices, self.normals = np.concatenate(vertices), np.concatenate(normals)
        parts = np.concatenate([studio.meshes[hand.side].parts for hand in hands])
        self.mesh = Mesh(np.concatenate(faces), parts, np.concatenate(attributes))
        centres = np.concatenate([hand.joints for hand in hands] + [hand.arm.centres for hand in hands])
        joint_radii = np.tile([_WRIST_RADIUS_M] + [_JOINT_RADIUS_M] * (JOINT_COUNT - 1), len(hands))
        radii = np.concatenate([joint_radii, *(hand.arm.radii_m for hand in hands)])
        shading.openness(self.vertices, self.normals, centres, radii, self.mesh.attributes[:, shading.OPEN])

    def draw(self, linear: Float32s, camera: Camera, lights: Lights) -> Bytes:
        """Draws over the background `linear` (H, W, 3); returns the parts (H, W) that are seen."""
        self.mesh.attributes[:, shading.NORMAL : shading.NORMAL + 3] = self.normals @ camera.rotation.T
        return shading.draw(linear, camera.see(self.vertices), self.mesh, camera.pinhole, lights, self.person.surface)
