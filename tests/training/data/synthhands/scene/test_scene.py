from __future__ import annotations

import numpy as np

from training.data.synthhands import schedule
from training.data.synthhands.frame import Frame, Studio
from training.data.synthhands.scene.body import FOREARM_DIRECTIONS
from training.data.synthhands.scene.posable import wrist_direction
from training.data.synthhands.scene.scene import GAP_MM, Scene, pose_hand, signed_gap_mm
from training.data.synthhands.table import V2


def gap_mm(studio: Studio, scene: Scene) -> float:
    return signed_gap_mm(scene.hands[0].vertices, scene.hands[1].vertices, studio.models)


def test_hands_touch_without_going_through_each_other(studio: Studio, frames: list[Frame]) -> None:
    pairs = [frame.scene for frame in frames if len(frame.scene.hands) == 2]
    touching = [gap_mm(studio, scene) for scene in pairs if scene.kind != "hands apart"]
    assert min(touching) >= GAP_MM[0] - 1.5 and max(touching) <= GAP_MM[1] + 1.5
    assert 0 < np.median(touching) < 5
    apart = [scene for scene in pairs if scene.kind == "hands apart"]
    between = [np.abs(scene.hands[0].joints[:, None] - scene.hands[1].joints).max(axis=-1).min() for scene in apart]
    assert max(between) > 0.2 and 0.2 < len(apart) / len(pairs) < 0.5


def test_scenes_show_what_they_should(frames: list[Frame]) -> None:
    sides = {schedule.INTERACTING: [0, 1], schedule.RIGHT: [0], schedule.LEFT: [1], schedule.NONE: []}
    for frame in frames:
        hand_type = schedule.hand_type(V2, frame.capture, frame.frame)
        assert [hand.side for hand in frame.scene.hands] == sides[hand_type]
        every = frame.scene.joints
        assert np.abs((every.min(axis=0) + every.max(axis=0)) / 2).max() < 0.08
    shares = [np.mean([len(frame.scene.hands) == count for frame in frames]) for count in range(3)]
    np.testing.assert_allclose(shares, [V2.empty, V2.single, 1 - V2.empty - V2.single], atol=0.06)


def test_labels_give_hands_back(studio: Studio, frames: list[Frame]) -> None:
    hands = [hand for frame in frames for hand in frame.scene.hands]
    assert len({hand.pose.tobytes() for hand in hands}) == len(hands)
    for hand in hands:
        vertices, joints = pose_hand(studio.models[hand.side], hand.pose, hand.shape, hand.translation)
        np.testing.assert_array_equal(vertices, hand.vertices)
        np.testing.assert_array_equal(joints, hand.joints)


def test_things_are_between_thumb_and_fingers(frames: list[Frame]) -> None:
    held = [hand for frame in frames for hand in frame.scene.hands if hand.thing is not None]
    assert held
    for hand in held:
        assert hand.thing is not None
        assert np.linalg.norm(hand.thing[:, None] - hand.joints, axis=2).min() < 0.06
        assert np.ptp(hand.thing, axis=0).max() < 0.4


def test_hands_that_touch_nothing_come_from_anywhere(frames: list[Frame]) -> None:
    alone = [hand for frame in frames for hand in frame.scene.hands if frame.scene.kind in ("one hand", "hands apart")]
    from_body = [float(wrist_direction(hand.joints) @ FOREARM_DIRECTIONS[hand.side]) for hand in alone]
    limit = np.cos(np.deg2rad(60))  # wider than a hand of the body's turns
    assert 0.1 < np.mean(np.array(from_body) < limit) < V2.free  # cameras see fewer of them
    touching = [hand for frame in frames for hand in frame.scene.hands if frame.scene.kind == "fingertips"]
    assert touching and {hand.side for hand in touching} == {0, 1}
