"""The shipped palm detector on drawn hands, whose places are known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.finder.finder import Finder
from runtime.hand.hands import Hands
from runtime.image.crop import box_of_image
from runtime.image.draw import draw_hands
from runtime.runner import load

GREY = 128
WIDTH, HEIGHT = 640, 480


@pytest.fixture(scope="module")
def finder() -> Finder:
    return Finder(threads=1)


@pytest.fixture(scope="module")
def pair(tiny_model: Path) -> Iterator[tuple[NDArray[np.uint8], Hands]]:
    """Two open hands side by side in the colour of skin, and where they are."""
    empty = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
    with load(tiny_model, device="cpu", threads=1) as runner:
        hands = runner(empty, box_of_image(WIDTH, HEIGHT))
    drawn = draw_hands(empty, hands, opacity=1)
    skin = np.clip(drawn.mean(axis=2, keepdims=True) * [1.1, 0.85, 0.7], 0, 255).astype(np.uint8)
    yield np.where((drawn != empty).any(axis=2, keepdims=True), skin, empty), hands


def place(image: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Rows and columns of what differs from grey."""
    rows, columns = np.nonzero((image != GREY).any(axis=2))
    return slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)


def assert_holds(box: NDArray[np.float64], image: NDArray[np.uint8]) -> None:
    """The box has the place and the size of what is drawn."""
    rows, columns = place(image)
    x, y, width, height = box
    side = max(rows.stop - rows.start, columns.stop - columns.start)
    assert abs(x + width / 2 - (columns.start + columns.stop) / 2) < 0.2 * side
    assert abs(y + height / 2 - (rows.start + rows.stop) / 2) < 0.2 * side
    assert 0.7 < max(width, height) / side < 1.4


def test_two_hands(finder: Finder, pair: tuple[NDArray[np.uint8], Hands]) -> None:
    image, _ = pair
    found = finder.find_hands(image)
    assert len(found.boxes) == len(found.scores) == 2
    assert found.scores[0] >= found.scores[1] > 0.5
    left, right = image.copy(), image.copy()
    left[:, WIDTH // 2 :], right[:, : WIDTH // 2] = GREY, GREY
    for box, side in zip(sorted(found.boxes, key=lambda box: box[0]), (left, right), strict=True):
        assert_holds(box, side)
    assert found.pair_box is not None
    assert_holds(found.pair_box, image)


@pytest.mark.parametrize("turns", range(4))
def test_one_hand_turned(finder: Finder, pair: tuple[NDArray[np.uint8], Hands], turns: int) -> None:
    image = pair[0].copy()
    image[:, WIDTH // 2 :] = GREY
    turned = np.rot90(image, turns)  # strided, as slices of videos are
    found = finder.find_hands(turned)
    assert len(found.boxes) == 1
    assert_holds(found.boxes[0], turned)
    np.testing.assert_allclose(found.pair_box, found.boxes[0])


@pytest.mark.parametrize(("width", "height"), [(1920, 1440), (1283, 961), (96, 72)])
def test_any_size_gives_the_same_places(
    finder: Finder, pair: tuple[NDArray[np.uint8], Hands], width: int, height: int
) -> None:
    image = cv2.resize(pair[0], (width, height), interpolation=cv2.INTER_AREA)
    found, same = finder.find_hands(image), finder.find_hands(pair[0])
    assert found.pair_box is not None and same.pair_box is not None
    np.testing.assert_allclose(found.pair_box * WIDTH / width, same.pair_box, atol=0.06 * WIDTH)


def test_small_hands_are_found_by_a_look_of_their_own(finder: Finder, pair: tuple[NDArray[np.uint8], Hands]) -> None:
    far = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
    far[200:320, 300:460] = cv2.resize(pair[0], (160, 120), interpolation=cv2.INTER_AREA)
    assert len(finder.find_hands(far, far=False).boxes) == 0
    found = finder.find_hands(far)
    assert len(found.boxes) == 2
    assert found.pair_box is not None
    assert_holds(found.pair_box, far)


def test_a_picture_without_hands_has_no_boxes(finder: Finder) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    for image in (noise, np.zeros((64, 2000, 3), np.uint8), np.full((16, 16, 3), 255, np.uint8)):
        found = finder.find_hands(image)
        assert found.boxes.shape == (0, 4)
        assert found.pair_box is None


@pytest.mark.parametrize(("name", "boxes"), [("THRESHOLD", 0), ("SECOND_THRESHOLD", 1)])
def test_the_surest_hand_decides(
    finder: Finder, pair: tuple[NDArray[np.uint8], Hands], monkeypatch: pytest.MonkeyPatch, name: str, boxes: int
) -> None:
    first, second = finder.find_hands(pair[0]).scores.tolist()
    monkeypatch.setattr(f"runtime.finder.finder.{name}", (first + (second if boxes else 1)) / 2)
    assert len(finder.find_hands(pair[0], far=False).boxes) == boxes
