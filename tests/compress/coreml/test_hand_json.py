"""The file holds the hand: skinned as docs/iphone.md's Swift does it, it is the runtime's mesh."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from compress.coreml.hand_json import hand_facts, to_json
from runtime.hand.hand_model import load_hand_models, skin
from runtime.hand.rotations import matrix_from_axis_angle

HANDS = load_hand_models()
RNG = np.random.default_rng(0)


def skin_from_file(hand: dict[str, Any], turns: np.ndarray, shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Step by step what the Swift in docs/iphone.md does: vertices (778, 3) and the 16 joints."""
    rest = np.array(hand["template"]).reshape(-1)
    joints = np.array(hand["joint_template"]).reshape(-1)
    for share, row, joint_row in zip(shape, hand["shape_basis"], hand["joint_shape_basis"], strict=True):
        rest, joints = rest + share * np.array(row), joints + share * np.array(joint_row)
    for feature, row in zip(hand["pose_features"], hand["pose_basis"], strict=True):
        place = (feature % 9 // 3, feature % 3)
        rest = rest + (turns[1 + feature // 9][place] - (place[0] == place[1])) * np.array(row)
    rest, joints = rest.reshape(-1, 3), joints.reshape(-1, 3)
    world, places = list(turns), list(joints)
    for j, parent in enumerate(hand["parents"]):
        if parent >= 0:
            world[j] = world[parent] @ turns[j]
            places[j] = places[parent] + world[parent] @ (joints[j] - joints[parent])
    vertices = np.zeros_like(rest)
    for v, (bones, weights) in enumerate(zip(hand["bones"], hand["bone_weights"], strict=True)):
        for bone, weight in zip(bones, weights, strict=True):
            vertices[v] += weight * (world[bone] @ (rest[v] - joints[bone]) + places[bone])
    return vertices, np.array(places)


def pose(scale: float) -> np.ndarray:
    return matrix_from_axis_angle(RNG.normal(0, scale, (16, 3)))


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_skinning_from_the_file(side: int, scale: float) -> None:
    hand = json.loads(to_json(HANDS))["hands"][side]
    turns, shape = pose(scale), RNG.normal(size=10)
    vertices, joints = skin_from_file(hand, turns, shape)
    expected, expected_joints = skin(HANDS[side], turns, shape)
    assert np.abs(vertices - expected).max() < 2e-6  # 0.002 mm
    assert np.abs(joints[0] - expected_joints[0]).max() < 2e-6
    assert hand["side"] == ("right", "left")[side]
    assert all(parent < joint for joint, parent in enumerate(hand["parents"]))  # the order in which the Swift walks


def test_many_bones_and_no_correctives() -> None:
    """Models whose vertices many bones move (MANO), or that have no pose correctives."""
    weights = RNG.uniform(0, 1, HANDS[0].weights.shape).astype(np.float32)
    weights[:, 9:] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    model = replace(HANDS[0], weights=weights, posedirs=np.zeros_like(HANDS[0].posedirs))
    hand = hand_facts(model)
    assert np.shape(hand["bones"]) == (778, 9) and hand["pose_basis"] == [] == hand["pose_features"]
    turns, shape = pose(0.4), RNG.normal(size=10)
    assert np.abs(skin_from_file(hand, turns, shape)[0] - skin(model, turns, shape)[0]).max() < 2e-6
