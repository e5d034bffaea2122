"""From (capture, frame) to finished pictures and their labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from runtime.hand.hand_model import HandModel, load_hand_models
from runtime.hand.joints import INTERHAND_TO_JOINTS, JOINT_COUNT
from training.data.synthhands import schedule as plan
from training.data.synthhands.drawing.background import background
from training.data.synthhands.drawing.look import (
    Person,
    expose,
    sample_exposure,
    sample_lights,
    sample_person,
    skin_albedo,
    sleeve_girth,
)
from training.data.synthhands.drawing.meshes import DrawnMesh, build_drawn_mesh, vertex_normals
from training.data.synthhands.drawing.rasteriser import (
    ALBEDO,
    ARM,
    ATTRIBUTES,
    NAIL,
    NORMAL,
    OPEN,
    PALM,
    TEXTURE,
    Bytes,
    Float32s,
    Int32s,
    draw,
    openness,
)
from training.data.synthhands.scene.body import Arm
from training.data.synthhands.scene.cameras import Camera, View, capture_cameras, choose_views
from training.data.synthhands.scene.posable import Floats
from training.data.synthhands.scene.scene import SIDES, Scene, Subject, build_subject, sample_scene

BOX_GROWTH = 1.2  # InterHand2.6M's boxes are those of the joints, grown about their centre
WORLD_DIGITS = 4  # of millimetres

_SCENE_TRIES = 60
# InterHand's joint = the project's joint at this index, within one hand.
_TO_INTERHAND = np.argsort(INTERHAND_TO_JOINTS)


@dataclass(frozen=True)
class Studio:
    """What every frame needs, built once per process."""

    models: tuple[HandModel, HandModel]
    meshes: tuple[DrawnMesh, DrawnMesh]


@dataclass(frozen=True)
class Frame:
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


def build_studio() -> Studio:
    models = load_hand_models()
    return Studio(models, (build_drawn_mesh(models[0]), build_drawn_mesh(models[1])))


def make_frame(studio: Studio, capture: int, frame: int, cameras: tuple[Camera, ...] | None = None) -> Frame:
    """The scene of a frame and the views kept of it. `cameras` are the capture's, where they are at hand."""
    cameras = capture_cameras(capture) if cameras is None else cameras
    subject = build_subject(studio.models, capture, frame)
    for attempt in range(_SCENE_TRIES):
        rng = plan.random_stream(plan.Stream.SCENE, capture, frame, attempt=attempt)
        scene = sample_scene(subject, plan.hand_type(frame), rng)
        rng = plan.random_stream(plan.Stream.VIEWS, capture, frame, attempt=attempt)
        views = choose_views(scene, cameras, studio.meshes, rng)
        if views is not None:
            return Frame(capture, frame, subject, scene, views)
    raise RuntimeError(f"no scene of capture {capture}, frame {frame} is seen by {plan.FRAME_VIEWS} cameras")


def draw_frame(studio: Studio, frame: Frame, person: Person) -> Iterator[Picture]:
    """The pictures of a frame, in the order of its views."""
    vertices, normals, attributes, faces, parts = drawn_scene(studio, frame.scene, person)
    for number, view in enumerate(frame.views):
        rng = plan.random_stream(plan.Stream.LOOK, frame.capture, frame.frame, number)
        camera = view.camera
        linear = background(camera.pinhole.size_px, person.skin, person.surface.sleeve_colour, rng)
        attributes[:, NORMAL : NORMAL + 3] = normals @ camera.rotation.T
        lights = sample_lights(person, rng)
        labels = draw(linear, camera.see(vertices), faces, parts, attributes, camera.pinhole, lights, person.surface)
        exposure = sample_exposure(rng)
        quality = [cv2.IMWRITE_JPEG_QUALITY, exposure.jpeg_quality]
        done, encoded = cv2.imencode(".jpg", expose(linear, exposure), quality)
        if not done:
            raise RuntimeError("JPEG encoding failed")
        yield Picture(view, linear, labels, encoded.tobytes())


def person_of(frame: Frame) -> Person:
    return sample_person(frame.subject.rig, frame.capture, frame.frame)


def world_coordinates_mm(scene: Scene) -> tuple[Floats, list[int]]:
    """InterHand's 42 joints (42, 3) in the world, and which are there."""
    world = np.zeros((2 * JOINT_COUNT, 3))
    valid = [0] * (2 * JOINT_COUNT)
    for hand in scene.hands:
        rows = slice(hand.side * JOINT_COUNT, (hand.side + 1) * JOINT_COUNT)
        world[rows] = (hand.joints[_TO_INTERHAND] * 1000).round(WORLD_DIGITS)
        valid[rows] = [1] * JOINT_COUNT
    return world, valid


def image_record(frame: Frame, view: View, image_id: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """One entry of `images` and one of `annotations` of the data file."""
    world, valid = world_coordinates_mm(frame.scene)
    seen = view.camera.pinhole.project(view.camera.see(world[np.array(valid, bool)] / 1000))
    low, high = seen.min(axis=0), seen.max(axis=0)
    extent = (high - low) * BOX_GROWTH
    corner = (low + high - extent) / 2
    width, height = view.camera.pinhole.size_px
    image = {
        "id": image_id,
        "file_name": frame.file_name(view.camera),
        "width": width,
        "height": height,
        "capture": frame.capture,
        "subject": frame.subject.number,
        "seq_name": frame.sequence,
        "camera": view.camera.name,
        "frame_idx": frame.frame,
    }
    annotation = {
        "id": image_id,
        "image_id": image_id,
        "bbox": [round(float(v), 3) for v in (*corner, *extent)],
        "joint_valid": [[v] for v in valid],
        "hand_type": frame.scene.hand_type,
        "hand_type_valid": 1,
    }
    return image, annotation


def joint_record(frame: Frame) -> dict[str, Any]:
    """The frame's entry of the joint file."""
    world, valid = world_coordinates_mm(frame.scene)
    return {
        "world_coord": world.tolist(),
        "joint_valid": [[bool(v)] for v in valid],
        "hand_type": frame.scene.hand_type,
        "hand_type_valid": True,
        "seq": frame.sequence,
    }


def mano_record(frame: Frame) -> dict[str, Any]:
    """The frame's entry of the MANO file: numbers rounded before the pictures were made from them."""
    record: dict[str, Any] = dict.fromkeys(SIDES)
    for hand in frame.scene.hands:
        record[SIDES[hand.side]] = {
            "pose": hand.pose.tolist(),
            "shape": hand.shape.tolist(),
            "trans": hand.translation.tolist(),
        }
    return record


def camera_record(cameras: tuple[Camera, ...]) -> dict[str, Any]:
    """A capture's entry of the camera file."""
    return {
        "campos": {camera.name: (camera.position_m * 1000).tolist() for camera in cameras},
        "camrot": {camera.name: camera.rotation.tolist() for camera in cameras},
        "focal": {camera.name: camera.pinhole.focal_px.tolist() for camera in cameras},
        "princpt": {camera.name: camera.pinhole.principal_px.tolist() for camera in cameras},
    }


def drawn_scene(studio: Studio, scene: Scene, person: Person) -> tuple[Floats, Floats, Float32s, Int32s, Bytes]:
    """World vertices and normals, attributes (`NORMAL` still missing), faces and parts of everything drawn."""
    wider = sleeve_girth(person)
    coarse, smooth, faces, parts, attributes, meshes = [], [], [], [], [], []
    count = 0
    for hand in scene.hands:
        mesh = studio.meshes[hand.side]
        arm: Arm = replace(hand.arm, girth=hand.arm.girth * wider[hand.side])
        coarse.append(mesh.coarse(hand.vertices, arm))
        smooth.append(mesh.subdivision @ coarse[-1])
        faces.append(mesh.faces + np.int32(count))
        parts.append(mesh.parts)
        meshes.append(mesh)
        count += len(smooth[-1])
        material = mesh.material
        rows = np.zeros((len(smooth[-1]), ATTRIBUTES), np.float32)
        rows[:, ALBEDO : ALBEDO + 3] = skin_albedo(person, material)
        rows[:, TEXTURE : TEXTURE + 2] = material.texture_m
        rows[:, PALM], rows[:, NAIL], rows[:, ARM] = material.palm, material.nail, material.arm_m
        attributes.append(rows)
    normals = [vertex_normals(points, mesh.faces) for points, mesh in zip(smooth, meshes, strict=True)]
    centres = np.concatenate([hand.joints for hand in scene.hands] + [hand.arm.centres for hand in scene.hands])
    radii = np.concatenate([_joint_radii(len(scene.hands)), *(hand.arm.radii_m for hand in scene.hands)])
    vertices, normal = np.concatenate(smooth), np.concatenate(normals)
    every = np.concatenate(attributes)
    every[:, OPEN] = openness(vertices, normal, centres, radii)
    return vertices, normal, every, np.concatenate(faces), np.concatenate(parts)


def _joint_radii(hands: int) -> Floats:
    one = np.full(JOINT_COUNT, 0.009)
    one[0] = 0.024
    return np.tile(one, hands)
