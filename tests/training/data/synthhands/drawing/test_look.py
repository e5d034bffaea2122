from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from runtime.hand.hand_model import load_hand_models
from training.data.synthhands.drawing.background import background
from training.data.synthhands.drawing.exposure import expose, sample_exposure
from training.data.synthhands.drawing.look import sample_person
from training.data.synthhands.drawing.skin_texture import BACK, PALM
from training.data.synthhands.scene.posable import build_rig


def test_people_differ_and_stay_themselves() -> None:
    rig = build_rig(load_hand_models()[0], np.zeros(10))
    people = [sample_person(rig, 0, frame) for frame in range(0, 48, 6)]
    assert np.ptp([person.skin.mean() for person in people]) > 0.1
    for person in people:
        assert (person.skin > 0).all() and (person.skin < 1).all()
        texture = person.surface.texture
        assert texture.shape[0] == 2 and np.isfinite(texture).all()
        assert all(texture[side].max() > max(0.2, -texture[side].min()) for side in (BACK, PALM))  # creases darken
        assert abs(np.median(texture)) < 0.05
    again = sample_person(rig, 0, 3)
    np.testing.assert_array_equal(again.surface.texture, people[0].surface.texture)


def test_backgrounds_vary_and_are_not_garish() -> None:
    saturation, level = [], []
    for seed in range(60):
        picture = background((512, 334), np.full(3, 0.4), np.full(3, 0.1), np.random.default_rng(seed))
        assert picture.shape == (334, 512, 3) and picture.dtype == np.float32
        assert np.isfinite(picture).all() and picture.min() >= 0
        shown = np.clip(picture, 0, 1) ** (1 / 2.2)
        saturation.append((shown.max(axis=-1) - shown.min(axis=-1)).mean())
        level.append(shown.mean())
    assert np.median(saturation) < 0.2
    assert np.std(level) > 0.1


def test_exposure_is_repeatable_and_keeps_the_picture_in_place() -> None:
    linear = np.zeros((100, 120, 3), np.float32)
    cv2.circle(linear, (60, 50), 20, (0.5, 0.5, 0.5), -1)
    for seed in range(40):
        exposure = sample_exposure(np.random.default_rng(seed))
        assert 80 <= exposure.jpeg_quality <= 95
        shown = expose(linear, exposure)
        np.testing.assert_array_equal(shown, expose(linear, exposure))
        quiet = expose(linear, replace(exposure, read_noise=0.0, shot_noise=0.0)).astype(float).sum(axis=2)
        rows, columns = np.indices(quiet.shape)
        assert abs((rows * quiet).sum() / quiet.sum() - 50) < 0.6  # blur does not shift
        assert abs((columns * quiet).sum() / quiet.sum() - 60) < 0.6
