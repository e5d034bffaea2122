"""Finger poses within a hand's joint limits, in eight modes, without fingers inside each other.

All poses are the right hand's; `mirrored` makes them the left's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.hand.rotations import matrix_from_axis_angle
from training.data.synthhands.arrays import Floats, Ints
from training.data.synthhands.scene.posable import FINGER_JOINTS, FINGER_PAD, MIRROR, Rig

PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
FINGERS = ("index", "middle", "ring", "pinky")

# Degrees: (lowest, highest).
MCP_FLEX, PIP_FLEX, DIP_FLEX = (-20.0, 88.0), (-3.0, 102.0), (-5.0, 75.0)
FINGER_ABDUCTION = (-14.0, 14.0)
THUMB_LIMITS = np.array([(-22.0, 38.0), (-22.0, 22.0), (-18.0, 18.0), (-10.0, 50.0), (-15.0, 70.0)])
# Of a thumb that is laid across the palm or on folded fingers: palmar abduction as well.
OPPOSED_LIMITS = np.array([(-22.0, 55.0), (-40.0, 40.0), (-30.0, 30.0), (-10.0, 60.0), (-15.0, 80.0)])
DIP_PER_PIP = 0.62  # the last joint follows the one before
THUMB_TO_INDEX_PINCH_M = 0.010  # between the fingertip vertices

SELF_OVERLAP_MM = 4.0  # how far soft fingers may press into each other
_SPHERE_SHRINK = 0.85
_PINCH_TRIES = 48
_OPPOSED_TRIES, _OPPOSED_KEPT = 160, 8
_BACK_TO_THUMB_M, _PALM_TO_THUMB_M = 0.019, 0.024  # from the middle of the bone to the thumb's tip
_POSE_TRIES = 60


@dataclass(frozen=True)
class Mode:
    """Mean and spread, degrees: fingers' MCP and PIP flexion; thumb's CMC flexion, abduction, MCP and IP flexion."""

    weight: float
    mcp: tuple[float, float]
    pip: tuple[float, float]
    thumb: tuple[float, float, float, float]
    thumb_spread: float = 10.0
    per_finger: float = 0.0  # added flexion from index to pinky, per finger


MODES = {
    "open": Mode(0.16, (2, 9), (6, 7), (-4, 0, 4, 4)),
    "relaxed": Mode(0.18, (20, 9), (28, 11), (2, 0, 10, 14), per_finger=5),
    "fist": Mode(0.10, (70, 9), (88, 8), (18, -6, 30, 36), 8),
    "point": Mode(0.11, (60, 11), (80, 11), (15, -4, 28, 34), 10),
    "claw": Mode(0.09, (4, 10), (58, 13), (0, 0, 14, 26)),
    "pinch": Mode(0.10, (36, 12), (40, 12), (14, 2, 14, 18), 12),
    "grip": Mode(0.10, (42, 9), (46, 11), (8, -8, 12, 16), per_finger=3),
    "mixed": Mode(0.16, (30, 28), (42, 32), (2, 0, 12, 16), 14),
}
_STRAIGHT = Mode(0, (4, 7), (8, 8), (0, 0, 0, 0))
# Counting and spelling: each finger, and the thumb, is as in a mode of its own. Share of the fingers.
SIGN, SIGNED_FIST = "sign", "signed fist"
OPPOSED = "opposed"  # the thumb holds a folded finger, or lies across the palm
_SIGN_FINGERS = {"open": 0.40, "fist": 0.36, "grip": 0.14, "claw": 0.10}
_SIGNED_FISTS = 0.15  # of the signs: all fingers closed
# Shares of the thumbs.
_SIGNED_THUMBS = {
    SIGN: {"open": 0.35, "fist": 0.12, "relaxed": 0.13, OPPOSED: 0.40},
    SIGNED_FIST: {"fist": 0.5, OPPOSED: 0.5},
}


def sample_pose(rig: Rig, rng: np.random.Generator, signs: float = 0.0) -> Floats:
    """Rotations (16, 3, 3) of the right hand; the wrist's is the identity. signs: their share."""
    names = list(MODES)
    weights = np.array([mode.weight for mode in MODES.values()])
    for _ in range(_POSE_TRIES):
        signed = signs and rng.random() < signs
        if signed:
            name = SIGNED_FIST if rng.random() < _SIGNED_FISTS else SIGN
        else:
            name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
        rotations = rotations_from_angles(rig, sample_angles(name, rig, rng))
        if self_overlap_mm(rig, rotations) <= SELF_OVERLAP_MM:
            return rotations
    return rotations_from_angles(rig, np.zeros((16, 3)))


def sample_angles(name: str, rig: Rig, rng: np.random.Generator) -> Floats:
    """(16, 3) flexion, abduction and twist of a mode, degrees, within the limits."""
    angles = _fingers("fist" if name == SIGNED_FIST else name, rng)
    if name != "pinch":
        shares = _SIGNED_THUMBS.get(name)
        thumb = name if shares is None else _one_of(shares, rng)
        if thumb == OPPOSED:
            return _opposed(angles, rig, rng)
        angles[list(FINGER_JOINTS["thumb"])] = _thumb(MODES[thumb], rng)
        return angles
    # Pinching fingers meet: of many thumbs and index fingers take the pair whose tips are the right distance apart.
    tries = np.repeat(angles[None], _PINCH_TRIES, axis=0)
    first, second, third = FINGER_JOINTS["index"]
    for one in tries:
        one[list(FINGER_JOINTS["thumb"])] = _thumb(MODES[name], rng)
        one[first, 0] = np.clip(one[first, 0] + rng.normal(0, 10), *MCP_FLEX)
        one[second, 0] = np.clip(one[second, 0] + rng.normal(0, 10), *PIP_FLEX)
        one[third, 0] = np.clip(one[second, 0] * DIP_PER_PIP + rng.normal(0, 5), *DIP_FLEX)
    tips = posed_points(rig, rotations_from_angles(rig, tries), rig.joints[[16, 20]], np.array([3, 15]))
    gap_m = np.linalg.norm(tips[:, 0] - tips[:, 1], axis=-1)
    return tries[int(np.argmin(np.abs(gap_m - THUMB_TO_INDEX_PINCH_M)))]


def _opposed(angles: Floats, rig: Rig, rng: np.random.Generator) -> Floats:
    """The thumb's tip on the back of a folded finger, or before the palm where none is: of many thumbs, the best."""
    folded = [FINGER_JOINTS[name] for name in FINGERS if angles[FINGER_JOINTS[name][0], 0] > 50]
    if folded:
        bone = folded[rng.integers(len(folded))][1]
        spot = (rig.joints[bone] + rig.joints[bone + 1]) / 2 - _BACK_TO_THUMB_M * FINGER_PAD
    else:
        bone = 0
        base = FINGER_JOINTS[FINGERS[rng.integers(1, 4)]][0]
        spot = 0.75 * rig.joints[base] + 0.25 * rig.joints[0] + _PALM_TO_THUMB_M * FINGER_PAD
    tries = np.repeat(angles[None], _OPPOSED_TRIES, axis=0)
    drawn = rng.uniform(OPPOSED_LIMITS[:, 0], OPPOSED_LIMITS[:, 1], (_OPPOSED_TRIES, 5))
    first, second, third = FINGER_JOINTS["thumb"]
    tries[:, first], tries[:, second, 0], tries[:, third, 0] = drawn[:, :3], drawn[:, 3], drawn[:, 4]
    rotations = rotations_from_angles(rig, tries)
    ends = posed_points(rig, rotations, np.stack([rig.joints[20], spot]), np.array([third, bone]))
    nearest = np.argsort(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1))[:_OPPOSED_KEPT]
    return tries[min(nearest, key=lambda k: max(self_overlap_mm(rig, rotations[k]), SELF_OVERLAP_MM / 2))]


def rotations_from_angles(rig: Rig, degrees: Floats) -> Floats:
    """(..., 16, 3) flexion, abduction, twist -> (..., 16, 3, 3)."""
    turns = matrix_from_axis_angle(rig.bend_axes * np.deg2rad(degrees)[..., None])
    return turns[..., 1, :, :] @ turns[..., 0, :, :] @ turns[..., 2, :, :]


def mirrored(rotations: Floats) -> Floats:
    """The same pose of the other hand: axis-angle y and z change sign."""
    return MIRROR @ rotations @ MIRROR


def posed_points(rig: Rig, rotations: Floats, points: Floats, bones: Ints) -> Floats:
    """Rest points (N, 3), each fixed to a bone, posed by rotations (..., 16, 3, 3) -> (..., N, 3)."""
    turned, placed = [rotations[..., 0, :, :]], [np.broadcast_to(rig.joints[0], (*rotations.shape[:-3], 3))]
    for joint in range(1, 16):
        parent = PARENTS[joint]
        offset = rig.joints[joint] - rig.joints[parent]
        turned.append(turned[parent] @ rotations[..., joint, :, :])
        placed.append(placed[parent] + turned[parent] @ offset)
    turn, place = np.stack(turned, axis=-3), np.stack(placed, axis=-2)
    local = points - rig.joints[bones]
    return (turn[..., bones, :, :] @ local[:, :, None])[..., 0] + place[..., bones, :]


def posed_spheres(rig: Rig, rotations: Floats) -> Floats:
    """(..., 16, 3, 3) -> centres of the rig's spheres (..., S, 3)."""
    return posed_points(rig, rotations, rig.sphere_centres, rig.sphere_bones)


def self_overlap_mm(rig: Rig, rotations: Floats) -> float:
    """How far the fingers press into each other or the fingertips into the palm, at worst."""
    centres = posed_spheres(rig, rotations)
    first, second = _may_collide(rig.sphere_bones)
    distance = np.linalg.norm(centres[first] - centres[second], axis=1)
    reach = _SPHERE_SHRINK * (rig.sphere_radii[first] + rig.sphere_radii[second])
    return float((reach - distance).max()) * 1000


def _may_collide(bones: Ints) -> tuple[Ints, Ints]:
    """Pairs of spheres of different fingers (but not both of their bases), or of a fingertip and the palm."""
    finger = np.where(bones == 0, 0, (bones - 1) // 3 + 1)
    base, tip = bones % 3 == 1, (bones % 3 == 0) & (bones > 0)
    first, second = np.triu_indices(len(bones), 1)
    fingers = (finger[first] != finger[second]) & (finger[first] > 0) & (finger[second] > 0)
    fingers &= ~(base[first] & base[second])
    palm = (tip[first] & (finger[second] == 0)) | (tip[second] & (finger[first] == 0))
    keep = fingers | palm
    return first[keep], second[keep]


def _fingers(name: str, rng: np.random.Generator) -> Floats:
    angles = np.zeros((16, 3))
    spread, curl = rng.normal(0, 7), rng.normal(0, 0.5)
    straight = _straight_fingers(name, rng)
    for order, finger in enumerate(FINGERS):
        mode = MODES[_one_of(_SIGN_FINGERS, rng) if name == SIGN else name]
        now = _STRAIGHT if finger in straight else mode
        # Neighbouring fingers bend together: half of the deviation is shared.
        own = rng.normal(0, 0.85, 2)
        mcp = np.clip(now.mcp[0] + now.per_finger * order + now.mcp[1] * (curl + own[0]), *MCP_FLEX)
        pip = np.clip(abs(now.pip[0] + now.per_finger * order + now.pip[1] * (curl + own[1])), *PIP_FLEX)
        dip = np.clip(pip * DIP_PER_PIP + rng.normal(0, 6), *DIP_FLEX)
        # A bent finger cannot be spread.
        abduction = ((1.5 - order) * spread / 1.5 + rng.normal(0, 3)) * (1 - 0.8 * np.clip(mcp / 80, 0, 1))
        first, second, third = FINGER_JOINTS[finger]
        angles[first] = mcp, np.clip(abduction, *FINGER_ABDUCTION), rng.normal(0, 2)
        angles[second, 0], angles[third, 0] = pip, dip
    return angles


def _one_of(shares: dict[str, float], rng: np.random.Generator) -> str:
    return str(rng.choice(list(shares), p=list(shares.values())))


def _straight_fingers(name: str, rng: np.random.Generator) -> tuple[str, ...]:
    """Fingers stretched whatever the mode says."""
    chance = rng.random()
    if name == "point":
        if chance < 0.5:
            return ("index",)
        return ("index", "middle") if chance < 0.8 else ("index", "pinky")
    if name == "pinch" and chance < 0.4:
        return ("middle", "ring", "pinky")
    return ()


def _thumb(mode: Mode, rng: np.random.Generator) -> Floats:
    """(3, 3) degrees for the thumb's joints."""
    flex, abduction, middle, last = mode.thumb
    drawn = np.array([flex, abduction, 0.0, middle, last]) + mode.thumb_spread * rng.normal(size=5)
    cmc_flex, cmc_abduction, twist, mcp, ip = np.clip(drawn, THUMB_LIMITS[:, 0], THUMB_LIMITS[:, 1])
    return np.array([[cmc_flex, cmc_abduction, twist], [mcp, 0, 0], [ip, 0, 0]])
