"""How sure it is that a hand is there: one probability from the network, from how its branches agree, and the finder.

The network alone shows hands on faces, sleeves and walls, where its heat maps and its mesh, two branches, put the
joints in different places. A logistic regression weighs that up, one for boxes that were given and one for those of
the finder. `python -m benchmarks.tools.fit_presence` fits it for each variant and writes down on what, and how often it
is wrong (Platt, "Probabilistic Outputs for Support Vector Machines", 1999).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..finder.finder import FoundBoxes
from .hands import Hand, Hands

Floats = NDArray[np.floating[Any]]
PRESENCE_PATH = Path(__file__).parents[1] / "assets" / "presence.json"
ANY_VARIANT = "any"  # the row of variants that have none
PRESENT_FROM = 0.5
SURE = 0.85  # on photographs, of pairs that lie over each other, both are surer; of one hand seen twice, one is not
# What speaks for a hand: a constant, the network's logit, how far its branches disagree (logarithm), and the finder's
# logit of its box, which only a hand that the finder looked for has. That the network is surer of the other side adds
# nothing.
EVIDENCE = ("constant", "network", "disagreement", "finder")
_LOGIT_LIMIT = 4.0  # of both: on rendered pictures the network is surer than it can be on others
_LEAST_M, _MOST_M = 0.008, 1.0  # on hands the branches are 8 to 30 mm apart: nearer is no surer
_SAME_PLACE = 0.25  # of a hand's size: two middles, or two wrists, that are nearer may be of one hand, seen twice
_IN_BOX = 0.75  # sides of the finder's box from its centre within which a hand is the one that it found
_MISSED_SCORE = 0.1  # stands for the finder's, where it did not see the hand


@dataclass(frozen=True)
class PresenceRule:
    """How evidence becomes a probability."""

    boxed: tuple[float, ...]  # weights of EVIDENCE without the finder
    found: tuple[float, ...]  # weights of EVIDENCE

    def judge(self, hands: Hands, found: FoundBoxes | None = None) -> Hands:
        """Give both hands their probability; `presence` is the network's own so far. found: where a finder looked."""
        logits = evidence(hands, found) @ np.array(self.boxed if found is None else self.found)
        sure = 1 / (1 + np.exp(-logits))
        one_found = found is not None and len(found.boxes) == 1
        # Two hands share no wrist; nor is one of two that lie over each other in doubt, but one that is seen twice is.
        if (one_found and _near(hands.right, hands.left, lambda points: points[0])) or (
            sure.min() < SURE and in_one_place(hands.right, hands.left)
        ):
            sure[sure.argmin()] = min(sure.min(), 1 - sure.max())
        right, left = (
            replace(hand, presence=float(presence), present=bool(presence > PRESENT_FROM))
            for hand, presence in zip((hands.right, hands.left), sure, strict=True)
        )
        return replace(hands, right=right, left=left)


NETWORK_ALONE = PresenceRule((0.0, 1.0, 0.0), (0.0, 1.0, 0.0, 0.0))


@lru_cache(maxsize=1)
def presence_rows() -> dict[str, dict[str, Any]]:
    """What the tool wrote, by variant."""
    rows: dict[str, dict[str, Any]] = json.loads(PRESENCE_PATH.read_text(encoding="utf-8"))["variants"]
    return rows


def presence_rule(variant: str) -> PresenceRule:
    """The rule of a variant, as shipped."""
    row = presence_rows().get(variant, presence_rows()[ANY_VARIANT])
    return PresenceRule(tuple(row["boxed"]["weights"]), tuple(row["found"]["weights"]))


def evidence(hands: Hands, found: FoundBoxes | None = None) -> NDArray[np.float64]:
    """What speaks for each hand, (2, 3), or (2, 4) where a finder looked; their `presence` is the network's own."""
    pair = (hands.right, hands.left)
    network = [_logit(hand.presence) for hand in pair]
    disagreement = [np.log(np.clip(disagreement_m(hand), _LEAST_M, _MOST_M) / _LEAST_M) for hand in pair]
    rows = [np.ones(2), network, disagreement]
    if found is not None:
        rows.append([_logit(score) for score in _finder_scores(pair, found)])
    return np.array(rows, np.float64).T


def disagreement_m(hand: Hand) -> float:
    """Mean distance between the joints of the mesh and those of the heat maps across the line of sight, metres."""
    apart_px = np.linalg.norm(hand.joints_image - hand.joints_heatmap[:, :2], axis=1).mean()
    scale = float(hand.camera[0])
    return float(apart_px) / scale if scale > 0 else float("inf")


def in_one_place(first: Hand, second: Hand) -> bool:
    """Whether two hands are nearer to each other than hands mostly are: likely one hand, seen twice."""
    return _near(first, second, lambda points: np.asarray(points.mean(axis=0)))


def _finder_scores(pair: tuple[Hand, Hand], found: FoundBoxes) -> list[float]:
    """The score of the box that each hand lies in; no two hands share one, and the surer hand has the choice."""
    scores = [_MISSED_SCORE, _MISSED_SCORE]
    free = list(range(len(found.boxes)))
    for side in sorted((0, 1), key=lambda side: -pair[side].presence):
        away, nearest = min(((_sides_away(pair[side], found.boxes[i]), i) for i in free), default=(np.inf, 0))
        if away <= _IN_BOX:
            scores[side] = float(found.scores[nearest])
            free.remove(nearest)
    return scores


def _near(first: Hand, second: Hand, place: Callable[[Floats], Floats]) -> bool:
    size = max(np.ptp(hand.joints_image, axis=0).max() for hand in (first, second))
    return bool(np.linalg.norm(place(first.joints_image) - place(second.joints_image)) < _SAME_PLACE * size)


def _sides_away(hand: Hand, box: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(hand.joints_image.mean(axis=0) - (box[:2] + box[2:] / 2)) / box[2:].max())


def _logit(probability: float) -> float:
    """Within the limit."""
    limit = 1 / (1 + np.exp(-_LOGIT_LIMIT))
    inside = min(max(probability, 1 - limit), limit)
    return float(np.log(inside / (1 - inside)))
