from __future__ import annotations

import numpy as np

from training.data.synthhands import schedule
from training.data.synthhands.frame import Frame, Studio
from training.data.synthhands.scene.body import ORIENTATION_LIMIT_DEG, orientation_error_deg
from training.data.synthhands.scene.poses import MODES
from training.data.synthhands.scene.scene import GAP_MM, pose_hand, signed_gap_mm


def test_hands_touch_without_going_through_each_other(studio: Studio, frames: list[Frame]) -> None:
    pairs = [frame for frame in frames if frame.scene.hand_type == schedule.INTERACTING]
    meshes = [[hand.vertices for hand in frame.scene.hands] for frame in pairs]
    gaps_mm = [signed_gap_mm(*pair, studio.models) for pair in meshes]
    assert min(gaps_mm) >= GAP_MM[0] - 1.5 and max(gaps_mm) <= GAP_MM[1] + 1.5
    assert 0 < np.median(gaps_mm) < 5


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
