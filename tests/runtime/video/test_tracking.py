"""The tracker on rendered sequences: drawn hands and a network that looks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.testing import assert_allclose

from runtime.hand.hands import Hands
from runtime.video.tracking import HOLD_FRAMES, SEARCH_EVERY, Box, Tracker
from tests.fixtures.colour_network import Stage

Place = tuple[float, float] | None
Path2D = Callable[[int], tuple[Place, Place]]
CLOSE = 0.35  # mean joint error, in hand sizes, of a hand that is tracked


@dataclass
class Run:
    """What a tracker did, per frame and hand."""

    visible: np.ndarray  # (N, 2): a hand is there and all its joints lie in the picture
    gone: np.ndarray  # (N, 2): nothing of a hand lies in the picture
    present: np.ndarray  # (N, 2): as found
    tracked: np.ndarray  # (N, 2): found where it is
    found: list[Hands]
    boxes: list[dict[str, Box]]  # before each frame
    network_runs: list[int]


def track(stage: Stage, path: Path2D, frames: int) -> Run:
    tracker = Tracker(stage.runner)
    rows, found, boxes, runs = [], [], [], []
    for number in range(frames):
        truth = stage.hands(*path(number))
        boxes.append(tracker.boxes)
        before = stage.network.runs
        hands = tracker(stage.picture(truth))
        runs.append(stage.network.runs - before)
        found.append(hands)
        for real, seen in ((truth.right, hands.right), (truth.left, hands.left)):
            inside, touching = (
                (points >= 0).all(axis=1) & (points < stage.size_px).all(axis=1)
                for points in (real.joints_image, real.project(real.vertices))
            )
            close = _error(real.joints_image, seen.joints_image) < CLOSE
            gone = not (real.present and touching.any())
            rows.append([real.present and inside.all(), gone, seen.present, seen.present and close])
    table = np.array(rows).reshape(frames, 2, 4)
    return Run(*np.moveaxis(table, -1, 0), found, boxes, runs)


def _error(truth: np.ndarray, found: np.ndarray) -> float:
    """Mean joint error in hand sizes."""
    return float(np.linalg.norm(truth - found, axis=1).mean() / np.ptp(truth, axis=0).max())


def delays(run: Run) -> Iterator[int]:
    """For every time a hand becomes visible: frames until it is tracked."""
    for side in range(2):
        starts = np.flatnonzero(run.visible[:, side] & ~np.r_[False, run.visible[:-1, side]])
        for start in starts:
            later = np.flatnonzero(run.tracked[start:, side])
            yield int(later[0]) if len(later) else len(run.tracked)


def moving(number: int) -> tuple[Place, Place]:
    """Side by side, up and down, apart and together; 8 px a frame at most."""
    t = number / 30
    spread = 45 + 35 * np.sin(1.1 * t)
    return (160 - spread, 120 + 50 * np.sin(2.9 * t)), (160 + spread, 120 + 45 * np.cos(2.3 * t))


def crossing(number: int) -> tuple[Place, Place]:
    """From side to side, through each other."""
    x = 75 * np.cos(0.05 * number)
    return (160 - x, 110 + 20 * np.sin(0.03 * number)), (160 + x, 130)


def leaving(number: int) -> tuple[Place, Place]:
    """The left hand leaves and returns, then both do."""
    x = np.interp(number, [0, 40, 55, 90, 105, 150, 165, 200, 215], [0, 0, 130, 130, 0, 0, 130, 130, 0])
    both = x if number >= 150 else 0.0
    return (110 - both * 1.3, 120), (210 + x * 1.3, 110)


@pytest.mark.parametrize("path", [moving, crossing, leaving])
def test_hands_are_tracked_while_they_are_visible(path: Path2D) -> None:
    run = track(Stage(), path, 240)
    assert run.visible.sum() > 200
    settled = run.visible & np.roll(run.visible, 5, axis=0)  # the frames allowed for finding them are counted below
    settled[:5] = False
    share = run.tracked[settled].mean()
    assert share >= 0.99, share
    assert max(delays(run)) <= 5
    assert not (run.present & run.gone).any()
    for x, y, width, height in (box for boxes in run.boxes for box in boxes.values()):  # never beyond the picture
        assert x >= 0 and y >= 0 and x + width <= 320 + 1e-9 and y + height <= 240 + 1e-9
        assert width > 0 and height > 0


def test_a_hand_hidden_by_the_other_keeps_its_place() -> None:
    """While it is hidden for less than HOLD_FRAMES the box does not shrink onto the other one."""
    stage = Stage()
    tracker = Tracker(stage.runner)
    both = stage.picture(stage.hands((145, 120), (175, 120)))
    for _ in range(3):
        tracker(both)
    (wide,) = tracker.boxes.values()
    alone = stage.picture(stage.hands((145, 120), None))
    for _ in range(HOLD_FRAMES):
        assert not tracker(alone).left.present
        assert_allclose(tracker.boxes["both"], wide, atol=0.1 * wide[2:].max())
    tracker(alone)
    assert list(tracker.boxes) == ["right"]


def test_hands_apart_have_a_crop_each() -> None:
    stage = Stage((640, 240))
    tracker = Tracker(stage.runner)
    truth = stage.hands((80, 120), (560, 110))
    for _ in range(8):
        hands = tracker(stage.picture(truth))
    assert sorted(tracker.boxes) == ["left", "right"]
    assert _error(truth.right.joints_image, hands.right.joints_image) < 0.15
    assert _error(truth.left.joints_image, hands.left.joints_image) < 0.15
    apart_m = (truth.left.joints_image[0] - truth.right.joints_image[0]) / 330
    assert_allclose(hands.relative_translation, [*apart_m, 0], atol=0.08)


@pytest.mark.parametrize(
    ("places", "network_runs", "finder_runs"),
    [(((145, 120), (175, 120)), 1, 0), (((120, 120), None), 1, 1 / SEARCH_EVERY), ((None, None), 0, 1)],
)
def test_what_tracking_costs(places: tuple[Place, Place], network_runs: float, finder_runs: float) -> None:
    """Per frame, once it has settled."""
    stage = Stage()
    tracker, picture = Tracker(stage.runner), stage.picture(stage.hands(*places))
    for _ in range(HOLD_FRAMES + 3):
        tracker(picture)
    stage.network.runs = stage.finder.runs = 0
    for _ in range(5 * SEARCH_EVERY):
        tracker(picture)
    assert stage.network.runs == network_runs * 5 * SEARCH_EVERY
    assert stage.finder.runs == finder_runs * 5 * SEARCH_EVERY


def test_a_new_size_starts_afresh_and_reset_forgets() -> None:
    stage, wide = Stage(), Stage((480, 300))
    tracker, picture = Tracker(stage.runner), stage.picture(stage.hands((145, 120), (175, 120)))
    hands = tracker(picture)
    assert tracker.boxes
    assert list(hands.stages_ms) == ["find", "preprocess", "inference", "postprocess"]
    assert (stage.finder.runs, stage.network.runs) == (1, 1)
    assert list(tracker(picture).stages_ms) == ["preprocess", "inference", "postprocess"]
    tracker(wide.picture(wide.hands(None, None)))
    assert not tracker.boxes
    tracker(picture)
    tracker.reset()
    assert not tracker.boxes
