"""The One-Euro filter: less jitter, little lag, one hand in every frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from runtime.hand.hand_model import load_hand_models
from runtime.hand.hands import Hand, Hands
from runtime.hand.rotations import matrix_from_6d, matrix_from_axis_angle
from runtime.video.smoothing import MAX_GAP_S, Smoother
from tests.conftest import resting_outputs

FPS = 30
FRAMES = 150
SETTLED = 30  # frames until the filter has forgotten how it began
PX_PER_M = 800.0
# What er-xs shows on still rendered hands, typically: radians per joint, metres in the picture, share of the size.
ROTATION_NOISE, PLACE_NOISE_M, SIZE_NOISE = 0.03, 0.002, 0.012

MODELS = load_hand_models()
RESTING = matrix_from_6d(resting_outputs()["rotation6d"][0])

Motion = Callable[[float], tuple[np.ndarray, np.ndarray]]


def hands_of(rotations: np.ndarray, camera: np.ndarray, shape: np.ndarray) -> Hands:
    """Two hands as the runner would give them: (2, 16, 3, 3), (2, 3), (2, 10)."""
    rotations, camera, shape = (values.astype(np.float32) for values in (rotations, camera, shape))
    joints, mesh = MODELS.joints(rotations, shape), MODELS.mesh(rotations, shape)
    places = camera[:, None, :1] * joints[..., :2] + camera[:, None, 1:]
    numbers = (joints, places, np.zeros_like(joints), rotations, shape, camera)
    right, left = (
        Hand(m.side, True, 1.0, partial(mesh, i), *(n[i] for n in numbers), m.faces) for i, m in enumerate(MODELS)
    )
    return Hands(right, left, np.array([0.1, 0, 0.02], np.float32), {})


def still(time_s: float) -> tuple[np.ndarray, np.ndarray]:
    return RESTING, np.array([[PX_PER_M, 200, 300], [PX_PER_M, 440, 300]])


def gesturing(time_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Hands swing 15 cm either way and turn, fingers open and close, about once a second."""
    rotations, camera = still(time_s)
    bend = np.zeros((2, 16, 3))
    bend[0, 1:13, 2] = 0.8 * np.sin(2 * np.pi * 1.0 * time_s)
    bend[1] = -bend[0]
    rotations = rotations @ matrix_from_axis_angle(bend)
    rotations[:, 0] = matrix_from_axis_angle([0, 0.8 * np.sin(2 * np.pi * 0.8 * time_s), 0]) @ rotations[:, 0]
    camera[:, 1] += PX_PER_M * 0.15 * np.sin(2 * np.pi * 0.8 * time_s)
    return rotations, camera


def film(motion: Motion, *, noisy: bool = True) -> list[Hands]:
    rng = np.random.default_rng(0)
    frames = []
    for number in range(FRAMES):
        rotations, camera = motion(number / FPS)
        shape = np.zeros((2, 10))
        if noisy:
            turns = rng.normal(0, ROTATION_NOISE / np.sqrt(3), (2, 16, 3))
            rotations = rotations @ matrix_from_axis_angle(turns)
            camera = camera.copy()
            camera[:, 1:] += rng.normal(0, PLACE_NOISE_M * PX_PER_M, (2, 2))
            camera[:, 0] *= 1 + rng.normal(0, SIZE_NOISE, 2)
            shape = rng.normal(0, 0.1, (2, 10))
        frames.append(hands_of(rotations, camera, shape))
    return frames


def smoothed(frames: list[Hands]) -> list[Hands]:
    smoother = Smoother(MODELS)
    return [smoother(hands, number / FPS) for number, hands in enumerate(frames)]


def values(frames: list[Hands], name: str) -> np.ndarray:
    """(N, 2, ...) of both hands."""
    return np.array([[getattr(hands.right, name), getattr(hands.left, name)] for hands in frames], np.float64)


def jitter(frames: list[Hands], name: str) -> float:
    """Root mean square of what a joint moves from frame to frame."""
    steps = np.diff(values(frames, name)[SETTLED:], axis=0)
    return float(np.sqrt((steps**2).sum(axis=-1).mean()))


def lag_frames(frames: list[Hands], name: str) -> float:
    """The delay at which the true movement fits best."""
    found = values(frames, name)[SETTLED:].reshape(FRAMES - SETTLED, -1)
    best = (np.inf, 0.0)
    for lag in np.linspace(0, 3, 61):
        truth = [hands_of(*gesturing((n - lag) / FPS), np.zeros((2, 10))) for n in range(SETTLED, FRAMES, 10)]
        error = float(((values(truth, name).reshape(len(truth), -1) - found[::10]) ** 2).sum())
        best = min(best, (error, float(lag)))
    return best[1]


@pytest.mark.parametrize("name", ["joints", "joints_image", "vertices"])
def test_still_hands_are_still_and_where_they_are(name: str) -> None:
    frames, truth = film(still), film(still, noisy=False)
    calm = smoothed(frames)
    assert jitter(frames, name) > 5 * jitter(calm, name)
    error = np.abs(values(calm, name)[SETTLED:].mean(axis=0) - values(truth, name)[0]).max()
    assert error < (0.003 * PX_PER_M if name == "joints_image" else 0.003)


@pytest.mark.parametrize("name", ["joints", "joints_image"])
def test_moving_hands_lag_less_than_a_frame(name: str) -> None:
    frames = film(gesturing)
    assert lag_frames(frames, name) <= 0.05
    assert 0 < lag_frames(smoothed(frames), name) <= 0.65


@pytest.mark.parametrize("wrong", [[0.6], [0.6, 0, -0.6], [-0.5, 0, 0.6], [0.3, 0, 0, -0.4]])
def test_single_frames_are_not_followed(wrong: list[float]) -> None:
    """The wrist of a still hand is off by so many radians in frames that follow each other."""
    frames = film(still, noisy=False)
    for number, angle in enumerate(wrong, start=60):
        rotations = RESTING.copy()
        rotations[:, 0] = matrix_from_axis_angle([angle, 0, 0]) @ rotations[:, 0]
        frames[number] = hands_of(rotations, still(0)[1], np.zeros((2, 10)))
    largest = [np.linalg.norm(np.diff(values(x, "joints"), axis=0), axis=-1).max() for x in (frames, smoothed(frames))]
    assert largest[1] < 0.2 * largest[0]


def test_mesh_and_joints_fit_in_every_frame() -> None:
    for hands in smoothed(film(gesturing))[::25]:
        rotations = np.stack([hands.right.rotations, hands.left.rotations])
        assert_allclose(np.swapaxes(rotations, -1, -2) @ rotations - np.eye(3), 0, atol=1e-5)
        vertices, joints = MODELS.skin(rotations, np.stack([hands.right.shape, hands.left.shape]))
        for side, hand in enumerate((hands.right, hands.left)):
            assert_allclose(hand.vertices, vertices[side], atol=1e-7)
            assert_allclose(hand.joints, joints[side], atol=1e-7)
            assert_allclose(hand.joints_image, hand.project(hand.joints), atol=1e-3)


def test_a_hand_that_comes_back_starts_afresh() -> None:
    frames = film(still)
    smoother = Smoother(MODELS)
    for number in range(20):
        smoother(frames[number], number / FPS)
    gone = replace(frames[20], left=replace(frames[20].left, present=False))
    passed = smoother(gone, 20 / FPS)
    assert_array_equal(passed.left.rotations, gone.left.rotations)
    assert not np.array_equal(passed.right.rotations, gone.right.rotations)
    back = smoother(frames[21], 21 / FPS)
    assert_allclose(back.left.rotations, frames[21].left.rotations, atol=1e-6)
    assert_allclose(back.relative_translation, frames[21].relative_translation)
    after_a_gap = smoother(frames[22], 22 / FPS + MAX_GAP_S)
    assert_allclose(after_a_gap.right.rotations, frames[22].right.rotations, atol=1e-6)
