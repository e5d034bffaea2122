from __future__ import annotations

import numpy as np
import pytest

from runtime.hand.hand_model import load_hand_models, skin
from training.data.synthhands.scene import poses
from training.data.synthhands.scene.posable import FINGER_JOINTS, JOINTS_TO_MANO, Rig, build_rig


@pytest.fixture(scope="module")
def rig() -> Rig:
    return build_rig(load_hand_models()[0], np.zeros(10))


@pytest.mark.parametrize("name", [*poses.MODES, poses.SIGN, poses.SIGNED_FIST])
def test_angles_keep_to_the_joint_limits(rig: Rig, name: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        angles = poses.sample_angles(name, rig, rng)
        for finger in poses.FINGERS:
            limits = (poses.MCP_FLEX, poses.PIP_FLEX, poses.DIP_FLEX)
            for joint, (low, high) in zip(FINGER_JOINTS[finger], limits, strict=True):
                assert low <= angles[joint, 0] <= high
            assert poses.FINGER_ABDUCTION[0] <= angles[FINGER_JOINTS[finger][0], 1] <= poses.FINGER_ABDUCTION[1]
        base, middle, last = FINGER_JOINTS["thumb"]
        thumb = np.array([*angles[base], angles[middle, 0], angles[last, 0]])
        limits = poses.THUMB_LIMITS if name in poses.MODES else poses.OPPOSED_LIMITS
        assert (thumb >= limits[:, 0]).all() and (thumb <= limits[:, 1]).all()


def test_thumbs_hold_folded_fingers_or_lie_across_the_palm(rig: Rig) -> None:
    """In a good part of signs the thumb's tip is within 1.5 cm of a folded finger's back, or before the palm."""
    rng, held, across = np.random.default_rng(3), 0, 0
    for _ in range(200):
        angles = poses.sample_angles(poses.SIGN, rig, rng)
        bones = [chain[1] for name, chain in FINGER_JOINTS.items() if name != "thumb" and angles[chain[0], 0] > 50]
        spots = [(rig.joints[bone] + rig.joints[bone + 1]) / 2 + [0, 0.019, 0] for bone in bones]
        spots = spots or [0.6 * rig.joints[10] + 0.4 * rig.joints[0] - [0, 0.024, 0]]
        points, of = np.stack([rig.joints[20], *spots]), np.array([15, *(bones or [0])])
        places = poses.posed_points(rig, poses.rotations_from_angles(rig, angles), points, of)
        near = np.linalg.norm(places[1:] - places[0], axis=1).min()
        held += bool(bones) and near < 0.015
        across += not bones and near < 0.04
    assert held > 40 and across > 3


def test_forward_kinematics_equals_the_hand_model(rig: Rig) -> None:
    model = load_hand_models()[0]
    rng = np.random.default_rng(1)
    rotations = poses.sample_pose(rig, rng)
    rotations[0] = poses.rotations_from_angles(rig, np.full((16, 3), 25.0))[4]
    expected = skin(model, rotations, np.zeros(10))[1][JOINTS_TO_MANO][:16]
    found = poses.posed_points(rig, rotations, rig.joints[:16], np.arange(16))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_sampled_poses_do_not_press_fingers_into_each_other(rig: Rig) -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        rotations = poses.sample_pose(rig, rng, signs=0.2)
        assert poses.self_overlap_mm(rig, rotations) <= poses.SELF_OVERLAP_MM
        np.testing.assert_allclose(rotations @ np.swapaxes(rotations, 1, 2), np.tile(np.eye(3), (16, 1, 1)), atol=1e-9)


def test_self_overlap_sees_crossed_fingers(rig: Rig) -> None:
    angles = np.zeros((16, 3))
    angles[1, 1], angles[4, 1] = -25, 25
    crossed = poses.self_overlap_mm(rig, poses.rotations_from_angles(rig, angles))
    assert crossed > poses.SELF_OVERLAP_MM > poses.self_overlap_mm(rig, np.tile(np.eye(3), (16, 1, 1)))


def test_pinching_fingertips_meet(rig: Rig) -> None:
    rng = np.random.default_rng(3)
    gaps = []
    for _ in range(30):
        rotations = poses.rotations_from_angles(rig, poses.sample_angles("pinch", rig, rng))
        index, thumb = poses.posed_points(rig, rotations, rig.joints[[16, 20]], np.array([3, 15]))
        gaps.append(np.linalg.norm(index - thumb))
    assert np.median(gaps) < 0.02
