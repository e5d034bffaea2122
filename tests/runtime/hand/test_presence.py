"""One probability per hand, from the network, its branches' agreement and the finder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.finder.finder import FoundBoxes
from runtime.hand.hands import Hands
from runtime.hand.presence import NETWORK_ALONE, PresenceRule, evidence, presence_rows, presence_rule
from runtime.runner import load

RULE = PresenceRule((1.0, 0.5, -1.0), (1.0, 0.5, -1.0, 1.0))
BOX = (0.0, 0.0, 100.0, 100.0)


@pytest.fixture(scope="module")
def seen(tiny_model: Path) -> Hands:
    """Two hands side by side in a box, with the network's own presence."""
    runner = load(tiny_model, device="cpu", threads=1)
    runner.presence = NETWORK_ALONE
    return runner(np.zeros((100, 100, 3), np.uint8), BOX)


def found(*places: tuple[float, float, float]) -> FoundBoxes:
    """Boxes of 40 px about x, y, each with its score."""
    rows = np.array(places, np.float64).reshape(-1, 3)
    boxes = np.concatenate([rows[:, :2] - 20, np.full((len(rows), 2), 40)], axis=1)
    return FoundBoxes(boxes, rows[:, 2].astype(np.float32))


def middle(hands: Hands, side: str) -> tuple[float, float]:
    x, y = (hands.right if side == "right" else hands.left).joints_image.mean(axis=0).tolist()
    return x, y


def test_branches_that_disagree_are_no_hand(seen: Hands) -> None:
    ghost = replace(seen.left, joints_heatmap=seen.left.joints_heatmap + 30)
    judged = RULE.judge(replace(seen, left=ghost))
    assert judged.right.present and not judged.left.present
    assert judged.left.presence < RULE.judge(seen).left.presence


def test_what_the_finder_saw_counts_and_no_two_hands_share_a_box(seen: Hands) -> None:
    right, left = middle(seen, "right"), middle(seen, "left")
    both = evidence(seen, found((*right, 0.9), (*left, 0.7)))
    assert both[:, 3] == pytest.approx(np.log([0.9 / 0.1, 0.7 / 0.3]), rel=1e-5)
    one = evidence(seen, found((*left, 0.7)))
    assert one[1, 3] == pytest.approx(both[1, 3]) and one[0, 3] < -2
    same = replace(seen, left=replace(seen.left, joints_image=seen.right.joints_image))  # one hand, seen twice
    twice = evidence(same, found((*right, 0.9)))
    assert twice[0, 3] > 2 and twice[1, 3] < -2  # the surer one has it
    assert (evidence(seen, found((*right, 0.9), (400, 400, 0.9)))[:, 3] > 0).tolist() == [True, False]


def test_one_wrist_has_one_hand_unless_the_finder_saw_two(seen: Hands) -> None:
    sure = replace(seen, right=replace(seen.right, presence=0.99), left=replace(seen.left, presence=0.98))
    twice = replace(sure, left=replace(sure.left, joints_image=sure.right.joints_image))
    place = (*middle(twice, "right"), 0.9)
    rule = PresenceRule((0.0, 1.0, 0.0), (0.0, 1.0, 0.0, 0.0))
    judged = rule.judge(twice, found(place))
    assert judged.right.present and not judged.left.present
    assert judged.left.presence == pytest.approx(1 - judged.right.presence)
    for other in (rule.judge(twice, found(place, place)), rule.judge(sure, found(place)), rule.judge(twice)):
        assert other.right.present and other.left.present


@given(
    st.floats(0, 1),
    st.floats(-1e6, 1e6, width=32),
    st.floats(-1e6, 1e6, width=32),
    st.lists(st.tuples(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5), st.floats(0, 1)), max_size=2),
)
def test_whatever_the_network_says_it_is_a_probability(
    seen: Hands, presence: float, scale: float, offset: float, places: list[tuple[float, float, float]]
) -> None:
    camera = np.array([scale, offset, 0], np.float32)
    odd = replace(seen.right, presence=presence, camera=camera, joints_image=seen.right.joints_image + offset)
    for boxes in (None, found(*places)):
        judged = RULE.judge(replace(seen, right=odd), boxes)
        assert 0 <= judged.right.presence <= 1 and judged.right.present == (judged.right.presence > 0.5)


def test_the_shipped_rules(seen: Hands) -> None:
    """A surer network and a finder that saw the hand never speak against it, and each row says how wrong it is."""
    for variant, row in presence_rows().items():
        rule = presence_rule(variant)
        assert rule.boxed[1] > 0 and rule.found[1] > 0 and rule.found[3] >= 0
        assert rule.boxed[2] <= 0 and rule.found[2] <= 0  # branches that disagree never speak for a hand
        for way in ("boxed", "found"):
            assert 0 <= row[way]["false_alarms"] < 0.5 and 0 <= row[way]["misses"] < 0.35
            assert sum(hands for _, _, hands in row[way]["reliability"]) == sum(row[way]["hands"])
    assert presence_rule("er-of-tomorrow") == presence_rule("any")
