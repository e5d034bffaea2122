from __future__ import annotations

import numpy as np
import pytest

from training.data.synthhands.frame import Frame, build_studio, make_frame
from training.data.synthhands.scene import cameras
from training.data.synthhands.table import V1, V2


def test_views_are_what_the_table_says(frames: list[Frame]) -> None:
    views = [view for frame in frames for view in frame.views]
    for view in views:
        camera = view
        np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(camera.rotation) == pytest.approx(1)
        assert sorted(camera.size_px) == [cameras.SHORT_PX, cameras.LONG_PX]
    with_hands = [view for frame in frames if frame.scene.hands for view in frame.views]
    for shown, share in (("own view", V2.own_view), ("turned", V2.turned), ("cut by the edge", V2.cut)):
        assert np.mean([shown in view.shows for view in with_hands]) == pytest.approx(share, abs=0.07)
    distances = np.array([np.linalg.norm(view.position_m) for view in views])
    assert 0.35 < np.mean(distances < 0.8) < 0.6 and distances.min() > 0.3


def test_hands_are_in_the_picture_and_arms_do_not_end_there(frames: list[Frame]) -> None:
    for frame in frames:
        assert len({view.name for view in frame.views}) == len(frame.views)
        for view in frame.views if frame.scene.hands else ():
            size = np.array(view.size_px)
            assert view.hidden <= 1 - cameras.MIN_VISIBLE
            pixels = view.project(frame.scene.joints)
            inside = ((pixels > 0) & (pixels < size)).all(axis=1)
            assert inside.mean() >= 0.5 if "cut by the edge" in view.shows else inside.all()
            for hand in frame.scene.hands:
                end = view.see(hand.arm.centres[-1])
                pixel = view.project(hand.arm.centres[-1])
                assert end[2] < 0.1 or (pixel < 0).any() or (pixel > size).any()


def test_boxes_hold_the_joints_but_for_a_share(frames: list[Frame]) -> None:
    fit = []
    for frame in frames:
        for view in frame.views if frame.scene.hands else ():
            pixels = view.project(frame.scene.joints)
            seen = np.clip(pixels, 0, view.size_px)
            fit.append((seen >= view.box[:2]).all() and (seen <= view.box[:2] + view.box[2:]).all())
            grown = max(view.box[2:]) / np.ptp(seen if "cut by the edge" in view.shows else pixels, axis=0).max()
            assert 0.8 < grown < 2.5
    assert 0.85 < np.mean(fit) < 1


def test_version_1_is_seen_from_the_front() -> None:
    studio = build_studio(V1)
    made = [make_frame(studio, 100, frame) for frame in range(0, 48, 4)]
    assert {len(frame.scene.hands) for frame in made} == {1, 2}
    ahead = [view.rotation[2, 2] for frame in made for view in frame.views]
    assert np.mean(np.array(ahead) > 0) > 0.85
    sizes = [max(view.box[2:]) for frame in made for view in frame.views if len(frame.scene.hands) == 2]
    assert 150 < np.median(sizes) < 220
