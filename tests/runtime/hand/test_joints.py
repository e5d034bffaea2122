"""The project's joint order and the maps into it."""

from __future__ import annotations

import numpy as np

from runtime.hand.joints import (
    BONES,
    FINGERTIPS,
    INTERHAND_TO_JOINTS,
    JOINT_NAMES,
    MANO_TO_JOINTS,
    MIDDLE_MCP,
    WRIST,
)

FINGERS = ("thumb", "index", "middle", "ring", "pinky")
MANO = ["wrist"] + [f"{f}_{k}" for f in ("index", "middle", "pinky", "ring", "thumb") for k in (1, 2, 3)]
MANO += [f"{f}_4" for f in ("index", "middle", "pinky", "ring", "thumb")]
INTERHAND = [f"{f}_{k}" for f in FINGERS for k in (4, 3, 2, 1)] + ["wrist"]


def test_maps() -> None:
    assert [MANO[i] for i in MANO_TO_JOINTS] == list(JOINT_NAMES)
    assert [INTERHAND[i] for i in INTERHAND_TO_JOINTS] == list(JOINT_NAMES)
    assert sorted(MANO_TO_JOINTS) == sorted(INTERHAND_TO_JOINTS) == list(range(21))


def test_named_joints() -> None:
    assert (WRIST, MIDDLE_MCP, tuple(FINGERTIPS)) == (0, 9, (4, 8, 12, 16, 20))


def test_bones_are_a_tree_from_the_wrist() -> None:
    assert len(BONES) == 20 and {child for _, child in BONES} == set(range(1, 21))
    assert all(parent == 0 or JOINT_NAMES[parent][:4] == JOINT_NAMES[child][:4] for parent, child in BONES)


def test_maps_cannot_be_changed() -> None:
    assert not MANO_TO_JOINTS.flags.writeable and isinstance(MANO_TO_JOINTS, np.ndarray)
