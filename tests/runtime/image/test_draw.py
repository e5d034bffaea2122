"""What the overlay shows, and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from runtime import Hands, load
from runtime.image.draw import draw_hands

GRAY = 128


@pytest.fixture(scope="module")
def hands(tiny_model: Path) -> Hands:
    return load(tiny_model)(background(), box=[40, 0, 320, 320])


def background() -> np.ndarray:
    return np.full((320, 400, 3), GRAY, np.uint8)


def orange(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., 0].astype(int) > pixels[..., 2].astype(int) + 30


def blue(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., 2].astype(int) > pixels[..., 0].astype(int) + 30


def at(image: np.ndarray, point: np.ndarray) -> np.ndarray:
    return image[int(point[1]), int(point[0])]


def without(hands: Hands, *sides: str) -> Hands:
    return replace(hands, **{side: replace(getattr(hands, side), present=False) for side in sides})


def palm(hands: Hands, side: str) -> np.ndarray:
    """The middle of the wrist and the knuckles, px."""
    return np.asarray(getattr(hands, side).joints_image[[0, 5, 9, 17]].mean(axis=0))


def test_hands_have_their_colours_where_they_are(hands: Hands) -> None:
    image = background()
    drawn = draw_hands(image, hands)
    assert_array_equal(image, GRAY)  # the original stays
    # Palms face the camera and the light here; their backs, seen from inside, would be dark.
    assert min(at(drawn, palm(hands, side)).max() for side in ("right", "left")) > 150
    assert orange(at(drawn, palm(hands, "right")))
    assert blue(at(drawn, palm(hands, "left")))
    for joint in (7, 11, 15, 19):
        assert orange(at(drawn, hands.right.joints_image[joint]))
        assert blue(at(drawn, hands.left.joints_image[joint]))
    assert_array_equal(drawn[:20], GRAY)
    wrist = int(hands.right.joints_image[0, 0])
    assert orange(drawn)[:, :wrist].any()
    assert not blue(drawn)[:, :wrist].any()


def test_the_outline_is_where_the_vertices_are(hands: Hands) -> None:
    drawn = draw_hands(background(), without(hands, "left"))
    rows, columns = np.nonzero((drawn != GRAY).any(axis=2))
    points = hands.right.project(hands.right.vertices)
    assert [columns.min(), rows.min()] == pytest.approx(points.min(axis=0), abs=1)
    assert [columns.max() + 1, rows.max() + 1] == pytest.approx(points.max(axis=0), abs=1)


@pytest.mark.parametrize(("left_behind_by_m", "seen"), [(0.2, orange), (-0.2, blue)])
def test_the_nearer_hand_hides_the_other(
    hands: Hands, left_behind_by_m: float, seen: Callable[[np.ndarray], np.ndarray]
) -> None:
    over = replace(hands.left, camera=hands.right.camera)
    moved = replace(hands, left=over, relative_translation=np.array([0, 0, left_behind_by_m], np.float32))
    drawn = draw_hands(background(), moved)
    assert seen(at(drawn, palm(hands, "right")))


def test_absent_hands_are_not_drawn(hands: Hands) -> None:
    assert_array_equal(draw_hands(background(), without(hands, "right", "left"), skeleton=True), GRAY)
    alone = draw_hands(background(), without(hands, "right"), skeleton=True)
    assert blue(alone).any() and not orange(alone).any()


@pytest.mark.parametrize("place", [None, (5, 5), (395, 315), (200, 316)])
def test_sides_are_named_inside_the_image(hands: Hands, place: tuple[int, int] | None) -> None:
    """In letters with a black edge below the wrist, wherever that is."""
    right = hands.right
    if place is not None:
        camera = np.array([right.camera[0], *place], np.float32)
        right = replace(right, camera=camera)
        right = replace(right, joints_image=right.project(right.joints))
    alone = without(replace(hands, right=right), "left")
    rows, columns = np.nonzero((draw_hands(background(), alone, skeleton=True, opacity=0) < 20).all(axis=2))
    assert len(rows) > 20 and rows.min() > 0 and rows.max() < 319 and 20 < np.ptp(columns) < 60
    assert columns.min() > 0 and columns.max() < 399
    wrist = right.joints_image[0]
    assert np.hypot(columns.mean() - wrist[0], rows.mean() - wrist[1]) < 60


@pytest.mark.parametrize("camera", [[1040, -5000, 0], [0, 100, 100], [-500, 100, 100], [1e9, 0, 0], [1e-3, 200, 200]])
def test_wild_cameras_do_no_harm(hands: Hands, camera: list[float]) -> None:
    wild = replace(hands, right=replace(hands.right, camera=np.array(camera, np.float32)))
    wild = replace(wild, right=replace(wild.right, joints_image=wild.right.project(wild.right.joints)))
    drawn = draw_hands(background(), wild, skeleton=True)
    assert drawn.shape == (320, 400, 3)
