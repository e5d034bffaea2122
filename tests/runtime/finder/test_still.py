"""One picture by finder and network: how often the network looks, where, and whose hands come out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime import Finder, load
from runtime.finder.hand_boxes import boxes_apart
from runtime.finder.still import find_and_run
from runtime.hand.hands import Hands
from runtime.image.reading import read_image

EXAMPLE = Path(__file__).parents[3] / "docs" / "example.jpg"
GREY = 128


@pytest.fixture(scope="module")
def finder() -> Finder:
    return Finder(threads=1)


class Looks:
    """Stands in for a runner: the hands' presences are given for each look, their wrists are in the box's centre."""

    def __init__(self, model: Path, *presences: tuple[float, float]) -> None:
        with load(model, device="cpu", threads=1) as runner:
            self._hands = runner(np.full((64, 64, 3), GREY, np.uint8))
        self._presences = presences
        self.boxes: list[NDArray[np.float64]] = []

    def __call__(self, rgb: NDArray[Any], box: NDArray[np.float64]) -> Hands:
        presences = self._presences[len(self.boxes)]
        self.boxes.append(box)
        camera = np.array([1000, *(box[:2] + box[2:] / 2)], np.float32)
        right, left = (
            replace(hand, presence=presence, present=presence > 0.5, camera=camera)
            for hand, presence in zip((self._hands.right, self._hands.left), presences, strict=True)
        )
        return replace(self._hands, right=right, left=left, stages_ms={"inference": 2.0})


def test_hands_together_are_looked_at_once(finder: Finder, tiny_model: Path) -> None:
    image, runner = read_image(EXAMPLE), Looks(tiny_model, (0.9, 0.8))
    hands = find_and_run(runner, finder, image)
    assert hands is not None
    assert (hands.right.presence, hands.left.presence) == (0.9, 0.8)
    assert hands.stages_ms["inference"] == 2 and hands.stages_ms["find"] > 0
    np.testing.assert_allclose(runner.boxes, [finder.find_hands(image).pair_box])


@pytest.mark.parametrize(
    ("presences", "right_look", "present"),
    [
        (((0.9, 0.2), (0.3, 0.8)), 0, ["right", "left"]),
        (((0.2, 0.9), (0.8, 0.3)), 1, ["right", "left"]),
        (((0.9, 0.1), (0.7, 0.2)), 0, ["right"]),  # both look like right hands
    ],
)
def test_hands_apart_are_looked_at_one_by_one(
    finder: Finder,
    tiny_model: Path,
    presences: tuple[tuple[float, float], ...],
    right_look: int,
    present: list[str],
) -> None:
    one_hand = read_image(EXAMPLE)[:, 150:]
    gap = np.full((one_hand.shape[0], 400, 3), GREY, np.uint8)
    runner = Looks(tiny_model, *presences)
    hands = find_and_run(runner, finder, np.concatenate([one_hand, gap, one_hand[:, ::-1]], axis=1))
    assert hands is not None
    assert len(runner.boxes) == 2 and hands.stages_ms["inference"] == 4
    assert [hand.side for hand in hands.present] == present
    centers = [box[:2] + box[2:] / 2 for box in runner.boxes]
    assert abs(centers[0][0] - centers[1][0]) > 400
    np.testing.assert_allclose(hands.right.camera[1:], centers[right_look], rtol=1e-6)
    np.testing.assert_allclose(hands.left.camera[1:], centers[1 - right_look], rtol=1e-6)
    assert hands.right.presence == presences[right_look][0] and hands.left.presence == presences[1 - right_look][1]
    apart_m = (centers[1 - right_look] - centers[right_look]) / 1000
    np.testing.assert_allclose(hands.relative_translation, [*apart_m, 0], rtol=1e-4)


def test_without_hands_the_network_is_not_asked(finder: Finder, tiny_model: Path) -> None:
    runner = Looks(tiny_model)
    assert find_and_run(runner, finder, np.full((240, 320, 3), GREY, np.uint8)) is None


@pytest.mark.parametrize(
    ("boxes", "apart"),
    [
        ([], False),
        ([(0, 0, 10, 10)], False),
        ([(0, 0, 10, 10), (18, 0, 10, 10)], False),
        ([(0, 0, 10, 10), (20, 0, 10, 10)], True),
        ([(0, 0, 10, 10), (15, 15, 10, 10)], True),
        ([(0, 0, 10, 10), (20, 0, 12, 12)], False),  # the larger one counts
    ],
)
def test_how_far_is_apart(boxes: list[tuple[float, ...]], apart: bool) -> None:
    assert boxes_apart(np.array(boxes, np.float64).reshape(-1, 4)) == apart
