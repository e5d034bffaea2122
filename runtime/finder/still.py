"""The hands of one picture: found by the finder, then looked at by the network, once or once each."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from runtime.finder.finder import Finder
from runtime.finder.hand_boxes import boxes_apart
from runtime.hand.hands import Hands, join_hands


def find_and_run(runner: Callable[..., Hands], finder: Finder, rgb: NDArray[Any]) -> Hands | None:
    """Find the hands of a picture, (H, W, 3) uint8 RGB; None where the finder sees none.

    The network looks once at the box around both hands. Where they are far apart it looks at each alone, and the right
    and the left hand are taken from the crops that the network is surest of them in. `stages_ms` sums both looks, and
    has `find` as well. Errors are the runner's, `runner` being a Runner or what stands in for one.
    """
    start = time.perf_counter()
    found = finder.find_hands(rgb)
    find_ms = 1000 * (time.perf_counter() - start)
    if found.pair_box is None:
        return None
    if not boxes_apart(found.boxes):
        hands = runner(rgb, found.pair_box)
        return replace(hands, stages_ms={"find": find_ms, **hands.stages_ms})
    one, other = (runner(rgb, box) for box in found.boxes)
    if other.right.presence + one.left.presence > one.right.presence + other.left.presence:
        one, other = other, one
    summed_ms = {stage: ms + other.stages_ms[stage] for stage, ms in one.stages_ms.items()}
    return replace(join_hands(one, other), stages_ms={"find": find_ms, **summed_ms})
