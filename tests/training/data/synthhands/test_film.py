"""Moving rendered hands."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.fixtures.film import Film, Move
from training.data.synthhands.frame import Studio

CAPTURE = 600_000


def test_the_same_film_has_the_same_pictures(studio: Studio) -> None:
    shots = [Film(studio, CAPTURE, 0).shoot(Move(), Move()) for _ in range(2)]
    assert_array_equal(shots[0].rgb, shots[1].rgb)
    assert shots[0].inside == (1.0, 1.0)
    film = Film(studio, CAPTURE, 0)
    assert (film.shoot(Move(), Move()).rgb != film.shoot(Move(), Move()).rgb).mean() > 0.1  # but for the noise


def test_hands_are_where_the_joints_say(studio: Studio) -> None:
    """A picture without them differs around their joints, and nowhere far from them but along the arms."""
    film = Film(studio, CAPTURE, 0, widen=1.5)
    hands, empty = film.shoot(Move(), Move()), film.shoot(None, None)
    changed = np.abs(hands.rgb.astype(int) - empty.rgb).sum(axis=2)
    noise = np.median(changed)
    on_joints = [changed[int(y), int(x)] for x, y in hands.joints_px.reshape(-1, 2)]
    assert np.median(on_joints) > 2 * noise
    top = int(hands.joints_px[..., 1].min())
    assert np.median(changed[: top - 20]) <= 1.2 * noise
    assert empty.inside == (0.0, 0.0)


def test_moves_are_in_the_cameras_axes_and_bending_keeps_the_wrist(studio: Studio) -> None:
    film = Film(studio, CAPTURE, 0)
    rest = film.shoot(Move(), Move())
    moved = film.shoot(Move((0.05, -0.02, 0.01)), Move())
    assert_allclose(moved.joints_m[0] - rest.joints_m[0], np.broadcast_to([0.05, -0.02, 0.01], (21, 3)), atol=1e-6)
    assert_array_equal(moved.joints_m[1], rest.joints_m[1])
    assert (moved.joints_px[0, :, 0] > rest.joints_px[0, :, 0] + 20).all()
    flat = film.shoot(Move(bend=1.0), Move())
    assert_allclose(flat.joints_m[0, 0], rest.joints_m[0, 0], atol=1e-6)
    assert np.abs(flat.joints_m[0, 1:] - rest.joints_m[0, 1:]).max() > 0.01
    assert film.shoot(Move((-1.0, 0, 0)), Move()).inside == (0.0, 1.0)


def test_widen_and_mistakes(studio: Studio) -> None:
    films = Film(studio, CAPTURE, 0), Film(studio, CAPTURE, 0, widen=2.0)
    extents = [np.ptp(film.shoot(Move(), Move()).joints_px, axis=(0, 1)) for film in films]
    assert_allclose(extents[1], extents[0] / 2)
    with pytest.raises(ValueError, match="two hands"):
        for frame in range(12):
            Film(studio, CAPTURE, frame)
