from __future__ import annotations

import numpy as np
import pytest

from runtime.hand.hand_model import HandModel
from training.data.synthhands import schedule
from training.data.synthhands.frame import Frame, Studio
from training.data.synthhands.scene.body import ORIENTATION_LIMIT_DEG, orientation_error_deg
from training.data.synthhands.scene.posable import Floats, boundary_loop
from training.data.synthhands.scene.poses import MODES
from training.data.synthhands.scene.scene import GAP_MM, SHAPE_LIMIT, build_subject, pose_hand, signed_gap_mm


def penetration_mm(points: Floats, vertices: Floats, model: HandModel) -> float:
    """Depth of the deepest point inside a hand, independently of the generator: by winding numbers."""
    loop = boundary_loop(model.faces)
    cap = np.stack([np.roll(loop, -1), loop, np.full(len(loop), len(vertices))], axis=1)
    closed = np.concatenate([model.faces, cap])
    corners = np.concatenate([vertices, vertices[loop].mean(axis=0, keepdims=True)])[closed]
    near = points[(points > vertices.min(axis=0)).all(axis=1) & (points < vertices.max(axis=0)).all(axis=1)]
    if not len(near):
        return 0.0
    a, b, c = (corners[None, :, i] - near[:, None] for i in range(3))
    la, lb, lc = (np.linalg.norm(v, axis=-1) for v in (a, b, c))
    triple = (a * np.cross(b, c)).sum(axis=-1)
    beside = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    winding = np.arctan2(triple, beside).sum(axis=1) / (2 * np.pi)
    inside = near[winding > 0.5]
    if not len(inside):
        return 0.0
    return 1000 * float(distance_to_triangles(inside, vertices[model.faces]).max())


def distance_to_triangles(points: Floats, corners: Floats) -> Floats:
    """(N, 3) to the nearest of (F, 3, 3): the plane where the foot lies inside, else the edges."""
    a, b, c = (corners[None, :, i] for i in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    offset = points[:, None] - a
    inside = np.ones(offset.shape[:2], bool)
    nearest = np.full(offset.shape[:2], np.inf)
    for start, end in ((a, b), (b, c), (c, a)):
        along = end - start
        from_start = points[:, None] - start
        inside &= (np.cross(along, from_start) * normal).sum(axis=-1) >= 0
        share = np.clip((from_start * along).sum(axis=-1) / (along * along).sum(axis=-1), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(from_start - share[..., None] * along, axis=-1))
    plane = np.abs((offset * normal).sum(axis=-1))
    return np.where(inside, plane, nearest).min(axis=1)


def test_hands_touch_without_going_through_each_other(studio: Studio, frames: list[Frame]) -> None:
    pairs = [frame for frame in frames if frame.scene.hand_type == schedule.INTERACTING]
    gaps_mm = np.array(
        [signed_gap_mm(*(hand.vertices for hand in frame.scene.hands), studio.models) for frame in pairs]
    )
    assert gaps_mm.min() >= GAP_MM[0] - 1.5 and gaps_mm.max() <= GAP_MM[1] + 1.5
    assert 0 < np.median(gaps_mm) < 5
    for frame in pairs[:10]:
        right, left = frame.scene.hands
        deepest = max(
            penetration_mm(right.vertices, left.vertices, studio.models[1]),
            penetration_mm(left.vertices, right.vertices, studio.models[0]),
        )
        assert deepest <= 5.0
        if deepest > 0.5:
            assert -signed_gap_mm(right.vertices, left.vertices, studio.models) == pytest.approx(deepest, abs=1.0)


def test_scenes_show_what_they_should(frames: list[Frame]) -> None:
    for frame in frames:
        sides = {schedule.INTERACTING: [0, 1], schedule.RIGHT: [0], schedule.LEFT: [1]}[schedule.hand_type(frame.frame)]
        assert [hand.side for hand in frame.scene.hands] == sides
        every = np.concatenate([hand.joints for hand in frame.scene.hands])
        assert np.abs((every.min(axis=0) + every.max(axis=0)) / 2).max() < 0.08
    assert len({hand.mode for frame in frames for hand in frame.scene.hands}) == len(MODES)


def test_hands_come_from_the_body_and_their_labels_give_them_back(studio: Studio, frames: list[Frame]) -> None:
    assert len({frame.scene.hands[0].pose.tobytes() for frame in frames}) == len(frames)
    for frame in frames:
        for hand in frame.scene.hands:
            vertices, joints = pose_hand(studio.models[hand.side], hand.pose, hand.shape, hand.translation)
            np.testing.assert_array_equal(vertices, hand.vertices)
            np.testing.assert_array_equal(joints, hand.joints)
            error = orientation_error_deg(hand.wrist_direction, hand.side)
            assert error <= ORIENTATION_LIMIT_DEG


def test_subjects_have_their_own_shapes(studio: Studio) -> None:
    subjects = [build_subject(studio.models, capture, frame) for capture in (0, 1) for frame in range(0, 48, 6)]
    assert len({subject.number for subject in subjects}) == len(subjects)
    for subject in subjects:
        right, left = subject.shapes
        assert np.abs(right).max() <= SHAPE_LIMIT and np.abs(left).max() <= SHAPE_LIMIT
        assert 0 < np.abs(right - left).max() < 0.6
    spread = np.std([subject.shapes[0] for subject in subjects])
    assert 0.75 < spread < 1.1
    again = build_subject(studio.models, 0, 5)
    np.testing.assert_array_equal(again.shapes[0], subjects[0].shapes[0])  # six frames on end show one person
