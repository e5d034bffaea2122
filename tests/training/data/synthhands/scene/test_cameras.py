from __future__ import annotations

import numpy as np
import pytest

from training.data.synthhands import schedule
from training.data.synthhands.frame import Frame, Studio, make_frame
from training.data.synthhands.labels import image_record
from training.data.synthhands.scene import cameras


def test_cameras_stand_upright_around_the_body() -> None:
    assert len({camera.name for camera in cameras.capture_cameras(0)}) == len(cameras.capture_cameras(0))
    for camera in (camera for capture in range(6) for camera in cameras.capture_cameras(capture)):
        np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(camera.rotation) == pytest.approx(1)
        assert 1.25 < np.linalg.norm(camera.position_m) < 1.65
        assert sorted(camera.pinhole.size_px) == [334, 512]
        centre = camera.pinhole.project(camera.see(np.zeros(3)))
        assert np.abs(centre - np.array(camera.pinhole.size_px) / 2).max() < 70
        if not camera.rare:
            right, down, ahead = camera.rotation
            level = np.cross([0, 1, 0], ahead)
            roll = np.rad2deg(np.arctan2(right @ np.cross(ahead, level), right @ level))
            assert abs(roll) <= cameras.ROLL_LIMIT_DEG + 1e-6
            assert ahead[2] > 0 and down[1] > 0


def test_views_keep_the_orientation_prior(frames: list[Frame]) -> None:
    """Most hands come from where the body has them: the right one from the picture's left."""
    fits, sides = [], []
    for frame in frames:
        for view in frame.views:
            fits.append(cameras.fits_body(frame.scene, view.camera))
            assert fits[-1] or view.camera.rare
            for hand in frame.scene.hands:
                x = (view.camera.rotation @ hand.wrist_direction)[0]
                sides.append(x < 0 if hand.side == 0 else x > 0)
    assert np.mean(fits) > 0.9 and np.mean(sides) > 0.8


def test_each_view_is_another_camera_and_shows_the_hands(frames: list[Frame]) -> None:
    for frame in frames:
        assert len({view.camera.name for view in frame.views}) == schedule.FRAME_VIEWS
        for view in frame.views:
            assert view.hidden <= 1 - cameras.MIN_VISIBLE
            joints = np.concatenate([hand.joints for hand in frame.scene.hands])
            pixels = view.camera.pinhole.project(view.camera.see(joints))
            assert (pixels > 0).all() and (pixels < view.camera.pinhole.size_px).all()
            x, y, width, height = image_record(frame, view, 0)[1]["bbox"]
            assert (pixels >= [x, y]).all() and (pixels <= [x + width, y + height]).all()
            for hand in frame.scene.hands:  # no arm ends in the picture
                end = view.camera.see(hand.arm.centres[-1])
                pixel = view.camera.pinhole.project(end)
                assert end[2] < 0.1 or (pixel < 0).any() or (pixel > view.camera.pinhole.size_px).any()


def test_statistics_of_the_set(studio: Studio) -> None:
    """Hands hide each other, boxes have InterHand2.6M's size, rare views are rare; of pairs from twelve captures."""
    pairs = [make_frame(studio, capture, frame) for capture in range(100, 112) for frame in (0, 7, 18, 25)]
    views = [(frame, view) for frame in pairs for view in frame.views]
    hidden = np.array([view.hidden for _, view in views])
    assert hidden.mean() >= 0.15 and (hidden > 0.20).mean() >= 0.25
    assert 170 < np.median([max(image_record(frame, view, 0)[1]["bbox"][2:]) for frame, view in views]) < 200
    assert 0.02 < np.mean([view.camera.rare for _, view in views]) < 0.08  # of a twentieth
