"""The project's joint order and the maps into it."""

from __future__ import annotations

from runtime.hand.joints import BONES, INTERHAND_TO_JOINTS, JOINT_NAMES, MANO_TO_JOINTS, MIDDLE_MCP, WRIST

FINGERS = ("thumb", "index", "middle", "ring", "pinky")
MANO_FINGERS = ("index", "middle", "pinky", "ring", "thumb")
MANO = ["wrist", *(f"{f}_{k}" for f in MANO_FINGERS for k in (1, 2, 3)), *(f"{f}_4" for f in MANO_FINGERS)]
INTERHAND = [*(f"{f}_{k}" for f in FINGERS for k in (4, 3, 2, 1)), "wrist"]


def test_order_and_maps() -> None:
    assert [MANO[i] for i in MANO_TO_JOINTS] == list(JOINT_NAMES)
    assert [INTERHAND[i] for i in INTERHAND_TO_JOINTS] == list(JOINT_NAMES)
    assert (WRIST, MIDDLE_MCP) == (0, 9)


def test_bones_are_a_tree_from_the_wrist() -> None:
    assert len(BONES) == 20 and {child for _, child in BONES} == set(range(1, 21))
    assert all(parent == 0 or JOINT_NAMES[parent][:4] == JOINT_NAMES[child][:4] for parent, child in BONES)
