"""One frame: a person's right hand, left hand or both, placed in the world as MANO parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from runtime.hand.hand_model import HandModel, HandPair, skin
from runtime.hand.rotations import axis_angle_from_matrix, matrix_from_axis_angle
from training.data.synthhands import schedule
from training.data.synthhands.arrays import Floats
from training.data.synthhands.scene.body import FOREARM_DIRECTIONS, Arm, hand_turn, sample_arm, tilted
from training.data.synthhands.scene.contact import mesh_gap, slide_to_gap, smallest_gap
from training.data.synthhands.scene.posable import (
    MIRROR,
    Rig,
    build_rig,
    unit,
    vertex_normals,
    wrist_direction,
    wrist_loop,
)
from training.data.synthhands.scene.poses import mirrored, posed_spheres, sample_pose
from training.data.synthhands.scene.things import sample_thing
from training.data.synthhands.schedule import Trait, place
from training.data.synthhands.table import Table

SIDES = ("right", "left")
GAP_MM = (-3.0, 8.0)
JOINT_RADII_M = np.array([0.024] + [0.009] * 20)
SHAPE_LIMIT = 2.0
SHAPE_DIFFERENCE = 0.1  # between one person's hands, standard deviation

# Rounding of what is written; the images are made from the rounded numbers, so labels are exact.
POSE_DIGITS, SHAPE_DIGITS, TRANSLATION_DIGITS = 6, 4, 7

_TILT_DEG = (26.0, 52.0)  # of a hand from the body's direction: spread, limit
NO_SLEEVE_M = 10.0
_GAP_REFINEMENTS = 4
_GAP_TOLERANCE_MM = 1.0
_PAIR_TRIES = 400
_ARM_CLEARANCE_M = 0.002


@dataclass(frozen=True, eq=False)
class Subject:
    """The person seen in `SUBJECT_FRAMES` frames on end: hand shapes and their rig."""

    capture: int
    group: int  # of frames
    shapes: tuple[Floats, Floats]  # (10,) right, left
    rig: Rig
    models: HandPair


@dataclass(frozen=True)
class PlacedHand:
    """A hand in the world: its label, and the geometry that follows from it. Metres."""

    side: int
    pose: Floats  # (48,) axis-angle, relative to hands_mean
    shape: Floats  # (10,)
    translation: Floats  # (3,)
    vertices: Floats  # (778, 3)
    joints: Floats  # (21, 3) the project's order
    arm: Arm
    thing: Floats | None = None  # vertices of what it holds

    @cached_property
    def spheres(self) -> Floats:
        """(N, 4) centres and radii: what hides, and takes light away. Joints, then the arm's stations."""
        centres, radii = (self.joints, self.arm.centres), (JOINT_RADII_M, self.arm.radii_m)
        return np.concatenate([np.concatenate(centres), np.concatenate(radii)[:, None]], axis=1)

    def posed(self, model: HandModel, pose: Floats, translation: Floats) -> PlacedHand:
        """The same hand with another pose (48,) and translation (3,); its arm follows."""
        vertices, joints = pose_hand(model, pose, self.shape, translation)
        arm = replace(self.arm, centres=self.arm.centres + (translation - self.translation))
        thing = None if self.thing is None else self.thing + (translation - self.translation)
        return replace(self, pose=pose, translation=translation, vertices=vertices, joints=joints, arm=arm, thing=thing)


@dataclass(frozen=True)
class Scene:
    hand_type: str
    kind: str  # how the hands are put together: "no hand", "one hand", "hands apart", or a way of touching
    hands: tuple[PlacedHand, ...]  # right before left
    sleeves_m: Floats  # (2,) where they begin along each arm; beyond its end for bare arms

    @property
    def joints(self) -> Floats:
        """All hands' (N, 3); where hands would be, if there are none."""
        if not self.hands:
            return np.array([[-0.09, -0.09, -0.09], [0.09, 0.09, 0.09]])
        return np.concatenate([hand.joints for hand in self.hands])


@dataclass(frozen=True)
class _Kind:
    """A way of bringing two hands together: palms' turns and where the left hand is, seen from the right one."""

    weight: float
    pronation_deg: tuple[float, float]  # mean, spread; the left hand's mean has the sign of `left_palm`
    left_palm: int
    offset: tuple[float, float, float]
    offset_noise: float
    both_signs: bool  # the offset may point the other way
    inwards: float = 0.0  # turns the hands' fingers towards each other


_KINDS = {
    "palm_to_palm": _Kind(0.10, (0, 24), 1, (1, 0, -0.25), 0.40, False),
    "palm_on_back": _Kind(0.22, (75, 22), 1, (0, 0.2, 1), 0.30, True, 0.25),
    "palms_in_depth": _Kind(0.22, (70, 24), -1, (0, 0, 1), 0.30, True, 0.25),
    "in_depth": _Kind(0.28, (0, 65), 1, (0, 0, 1), 0.35, True, 0.15),
    "crossing": _Kind(0.10, (20, 45), 1, (0.6, 0, 0.7), 0.50, False, 0.5),
    "free": _Kind(0.08, (0, 65), 1, (0.4, 0, 0), 0.80, False),
}
_FINGERTIPS = _Kind(0.0, (0, 75), 1, (1, 0, 0), 0.20, False, 2.5)
PRONATION_LIMIT_DEG = 110.0
_ALIKE = 0.4  # of free hands: held up, and of pairs both the same way


@lru_cache(maxsize=4)
def build_subject(models: HandPair, table: Table, capture: int, group: int) -> Subject:
    """The person seen in a capture's frames `group` * SUBJECT_FRAMES and on."""
    rng = schedule.random_stream(table, schedule.Stream.SUBJECT, capture, group)
    right = np.clip(rng.normal(size=10), -SHAPE_LIMIT, SHAPE_LIMIT)
    left = np.clip(right + rng.normal(0, SHAPE_DIFFERENCE, 10), -SHAPE_LIMIT, SHAPE_LIMIT)
    shapes = right.round(SHAPE_DIGITS), left.round(SHAPE_DIGITS)
    return Subject(capture, group, shapes, build_rig(models[0], shapes[0]), models)


def sample_scene(table: Table, subject: Subject, capture: int, frame: int, rng: np.random.Generator) -> Scene:
    """A frame's scene, its hands near the world's origin."""
    hand_type = schedule.hand_type(table, capture, frame)
    kind = "no hand"
    hands: tuple[PlacedHand, ...] = ()
    if hand_type == schedule.INTERACTING:
        apart = place(Trait.APART, capture, frame) < table.apart
        kind, hands = _sample_pair(subject, table, apart, rng)
    elif hand_type != schedule.NONE:
        side = SIDES.index(hand_type)
        rotations = sample_pose(subject.rig, rng, table.signs)
        home, direction = FOREARM_DIRECTIONS[side], tilted(FOREARM_DIRECTIONS[side], *_TILT_DEG, rng)
        pronation = rng.uniform(-PRONATION_LIMIT_DEG, PRONATION_LIMIT_DEG)
        if table.free and rng.random() < table.free:
            home, direction, pronation = _free_directions(rng)[side]
        rotations = _oriented(subject, side, rotations, direction, pronation)
        kind, hands = "one hand", (_place(subject, side, rotations, np.zeros(3), home, rng),)
    if hands:
        hands = _centred(subject, hands, rng)
    # Touching hands hold nothing: it would be in the other hand's way.
    holds = [kind in ("one hand", "hands apart") and rng.random() < table.holding for _ in hands]
    hands = tuple(
        replace(hand, thing=sample_thing(hand.joints, rng)) if held else hand
        for hand, held in zip(hands, holds, strict=True)
    )
    sleeved = rng.random() < table.sleeved
    sleeves = rng.uniform(0.012, 0.15) + rng.normal(0, 0.006, 2) if sleeved else np.full(2, NO_SLEEVE_M)
    return Scene(hand_type, kind, hands, sleeves)


Pair = tuple[str, tuple[PlacedHand, ...]]


def _free_directions(rng: np.random.Generator) -> list[tuple[Floats, Floats, float]]:
    """Where a right and a left hand's arms come from, which way wrists are, and palms' turns, whatever the body is."""
    up = unit(np.array([0.0, 1.0, 0.0]) + rng.normal(0, 0.25, 3))
    palm_deg = float(rng.choice([0.0, 90.0, -90.0, 180.0]))
    alike = rng.random() < _ALIKE
    drawn = []
    for _ in range(2):
        direction = unit(up + rng.normal(0, 0.2, 3)) if alike else unit(rng.normal(size=3))
        turn_deg = palm_deg + rng.normal(0, 30) if alike else rng.uniform(-180, 180)
        drawn.append((tilted(direction, 20, 45, rng), direction, turn_deg))
    return drawn


def _sample_pair(subject: Subject, table: Table, apart: bool, rng: np.random.Generator) -> Pair:
    for _ in range(_PAIR_TRIES):
        pair = _try_pair(subject, table, apart, rng)
        if pair is not None:
            return pair
    raise RuntimeError(f"no pair of hands without penetration in {_PAIR_TRIES} tries")


def _try_pair(subject: Subject, table: Table, apart: bool, rng: np.random.Generator) -> Pair | None:
    name = str(rng.choice(list(_KINDS), p=[kind.weight for kind in _KINDS.values()]))
    kind = _KINDS[name]
    if table.fingertips and rng.random() < table.fingertips:
        name, kind = "fingertips", _FINGERTIPS
    free = _free_directions(rng) if apart and table.free and rng.random() < table.free else None
    rotations, spheres = [], []
    for side in range(2):
        fingers = sample_pose(subject.rig, rng, table.signs)
        home = unit(FOREARM_DIRECTIONS[side] + kind.inwards * rng.random() * np.array([2 * side - 1, -0.3, 0]))
        turn = rng.normal(kind.pronation_deg[0] * (kind.left_palm if side else 1), kind.pronation_deg[1])
        turn = float(np.clip(turn, -PRONATION_LIMIT_DEG, PRONATION_LIMIT_DEG))
        direction = tilted(home, *_TILT_DEG, rng)
        if free is not None:
            _, direction, turn = free[side]
        full = _oriented(subject, side, fingers, direction, turn)
        rotations.append(full)
        centres = posed_spheres(subject.rig, mirrored(full) if side else full)
        spheres.append(centres @ MIRROR if side else centres)
    gap_mm = 1000 * rng.uniform(*table.apart_m) if apart else rng.uniform(*GAP_MM)
    towards = np.array(kind.offset) * (rng.choice([-1.0, 1.0]) if kind.both_signs else 1.0)
    direction = unit(towards + rng.normal(0, kind.offset_noise, 3))
    if apart:  # beside each other, as arms have them
        direction = unit(np.array([1.0, 0.0, 0.0]) + rng.normal(0, 0.35, 3))
    start = spheres[0].mean(axis=0) - spheres[1].mean(axis=0) + rng.normal(0, 0.008, 3)
    radii = subject.rig.sphere_radii
    slide = slide_to_gap(spheres[0], radii, spheres[1] + start, radii, direction, gap_mm / 1000)
    if not np.isfinite(slide):
        return None
    shift = start + slide * direction
    homes = FOREARM_DIRECTIONS if free is None else [home for home, _, _ in free]
    right = _place(subject, 0, rotations[0], np.zeros(3), homes[0], rng)
    left = _place(subject, 1, rotations[1], shift, homes[1], rng)
    # The spheres are rough: the meshes of hands that touch have the last word on the gap.
    moved = np.zeros(3) if apart else _brought_to_gap(right, left, direction, gap_mm, subject.models)
    if moved is None or not _arms_clear(right, left, moved, subject, spheres, shift):
        return None
    return ("hands apart", (right, left)) if apart else (name, (right, _moved(subject, left, moved)))


def _brought_to_gap(
    right: PlacedHand, left: PlacedHand, direction: Floats, gap_mm: float, models: HandPair
) -> Floats | None:
    """By how much (3,) m the left hand is moved for the gap; None where that takes too long."""
    moved = 0.0
    for _ in range(_GAP_REFINEMENTS):
        gap_now_mm = signed_gap_mm(right.vertices, left.vertices + moved * direction, models)
        if abs(gap_now_mm - gap_mm) <= _GAP_TOLERANCE_MM:
            return moved * direction
        moved += (gap_mm - gap_now_mm) / 1000
    return None


def _oriented(subject: Subject, side: int, fingers: Floats, direction: Floats, pronation_deg: float) -> Floats:
    """Right-hand finger rotations (16, 3, 3) as a whole hand's of `side`, knuckles -> wrist along `direction`."""
    rotations = fingers.copy()
    rotations[0] = hand_turn(subject.rig, direction @ MIRROR if side else direction, pronation_deg)
    return mirrored(rotations) if side else rotations


def _place(
    subject: Subject, side: int, rotations: Floats, translation: Floats, home: Floats, rng: np.random.Generator
) -> PlacedHand:
    """A hand in the world, whose arm comes from `home` (3,)."""
    model = subject.models[side]
    pose: Floats = axis_angle_from_matrix(rotations).astype(np.float64).reshape(48)
    pose[3:] -= model.hands_mean
    pose = pose.round(POSE_DIGITS)
    vertices, joints = pose_hand(model, pose, subject.shapes[side], translation)
    wrist = vertices[wrist_loop(model)].mean(axis=0)
    arm = sample_arm(home, wrist, wrist_direction(joints), rng)
    return PlacedHand(side, pose, subject.shapes[side], translation, vertices, joints, arm)


def pose_hand(model: HandModel, pose: Floats, shape: Floats, translation: Floats) -> tuple[Floats, Floats]:
    """World vertices (778, 3) and joints (21, 3) of MANO parameters as on disk."""
    vertices, joints = skin(model, rotations_of(model, pose), shape)
    return vertices.astype(np.float64) + translation, joints.astype(np.float64) + translation


def rotations_of(model: HandModel, pose: Floats) -> Floats:
    """(16, 3, 3) of a pose (48,) as on disk."""
    full = pose.copy()
    full[3:] += model.hands_mean
    return np.asarray(matrix_from_axis_angle(full.reshape(16, 3)))


def _moved(subject: Subject, hand: PlacedHand, offset: Floats) -> PlacedHand:
    translation = (hand.translation + offset).round(TRANSLATION_DIGITS)
    return hand.posed(subject.models[hand.side], hand.pose, translation)


def _centred(subject: Subject, hands: tuple[PlacedHand, ...], rng: np.random.Generator) -> tuple[PlacedHand, ...]:
    """The hands moved to around the origin, which is where the cameras look."""
    joints = np.concatenate([hand.joints for hand in hands])
    offset = rng.normal(0, 0.012, 3) - (joints.min(axis=0) + joints.max(axis=0)) / 2
    return tuple(_moved(subject, hand, offset) for hand in hands)


def signed_gap_mm(right: Floats, left: Floats, models: HandPair) -> float:
    """Signed gap between the vertices of two hands' meshes; negative is penetration."""
    normals = vertex_normals(right, models[0].faces), vertex_normals(left, models[1].faces)
    return 1000 * min(mesh_gap(right, left, normals[1]), mesh_gap(left, right, normals[0]))


def _arms_clear(
    right: PlacedHand, left: PlacedHand, moved: Floats, subject: Subject, spheres: list[Floats], shift: Floats
) -> bool:
    """Whether no arm runs into the other hand or arm."""
    arms = right.arm.centres[1:], left.arm.centres[1:] + moved  # the first station lies within the wrist
    thick = right.arm.radii_m[1:], left.arm.radii_m[1:]
    hands = spheres[0], spheres[1] + shift + moved
    radii = subject.rig.sphere_radii
    pairs = [(arms[0], thick[0], arms[1], thick[1])]
    pairs += [(arms[side], thick[side], hands[1 - side], radii) for side in range(2)]
    return all(smallest_gap(*pair) > _ARM_CLEARANCE_M for pair in pairs)
