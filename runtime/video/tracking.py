"""From frame to frame: where to look for the hands.

The network wants a crop around both hands. In a video the joints found in one frame say where to look in the next one
(Zhang et al., "MediaPipe Hands: On-device Real-time Hand Tracking", 2020); where there are none, the finder looks at
the whole picture.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..finder.palms import boxes_apart
from ..hand.hands import Floats, Hands, join_hands, sum_ms
from ..hand.presence import PRESENT_FROM, in_one_place
from ..image.reading import Rgb, Scratch, as_rgb_uint8
from ..runner import Runner

Box = NDArray[np.float64]  # (4,) x, y, width, height, px

# Training has 1.2 around the true joints. Found ones are not as good, and a crop that cuts hands off makes them look
# smaller, and the next crop with them: with 1.2 tracks collapse.
BOX_OVER_JOINTS = 1.5
# A box stays while the joints ask for one this near, in parts of its side: one that follows every pixel makes the
# network's own noise move its next picture, and still hands wander.
STAY_WITHIN = 0.1
HOLD_FRAMES = 5  # a hand that is missed for a moment keeps its place
KEPT_SHARE = 0.5  # of the presence that a hand takes to be found, to be kept
SEARCH_EVERY = 4  # frames between two looks of the finder for the hand that is missing, and for small ones
TOGETHER_SHARE = 0.85  # of the distance at which hands have a crop each: nearer, they share one again
_FINDER_OVER_JOINTS = 1.2  # side of the finder's box over the joints' extent
_MIN_SIDE_PX = 8.0


class Tracker:
    """`tracker(rgb) -> Hands` for the frames of one video, in their order.

    Every video and thread needs its own; the runner may be shared. A hand that is followed stays `present` down to half
    the presence that a new one takes. `stages_ms` sums all that a frame took: one run of the network, two where the
    hands are apart; the finder, and its runs, where both are missing, and every `SEARCH_EVERY` frames where one is.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._scratch = Scratch()
        self.reset()

    def reset(self) -> None:
        """Forget everything, as before the first frame."""
        self._frame = 0
        self._size = (0, 0)
        self._seen: dict[str, tuple[int, Floats]] = {}  # side -> frame, joints (21, 2) px
        # Where the next frame is looked at first: `both`, or `right` and `left`; empty where the hands are lost.
        self.boxes: dict[str, Box] = {}

    def __call__(self, rgb: NDArray[Any]) -> Hands:
        """Find the hands of the next frame, (H, W, 3) uint8 RGB. Errors are the runner's."""
        image = as_rgb_uint8(rgb, self._scratch)
        size = (image.shape[1], image.shape[0])
        if size != self._size:
            self.reset()
            self._size = size
        hands = self._look_where_they_were(image)
        its_turn = self._frame % SEARCH_EVERY == 0
        if hands is None or not hands.present:
            found = self._runner.look_at(image, self._runner.find_hands(image, far=its_turn))
            hands = found if hands is None else replace(found, stages_ms=sum_ms(found, hands))
        elif len(hands.present) == 1 and its_turn:
            hands = self._search_second(image, hands)
        self._frame += 1
        self._seen.update({hand.side: (self._frame, hand.joints_image) for hand in hands.present})
        self._move_boxes()
        return hands

    def _look_where_they_were(self, image: Rgb) -> Hands | None:
        """What is in the boxes; None where there are none."""
        seen = {key: self._kept(self._runner(image, box)) for key, box in self.boxes.items()}
        if len(seen) < 2:
            return next(iter(seen.values()), None)
        hands = join_hands(seen["right"], seen["left"])
        if len(hands.present) == 2 and in_one_place(hands.right, hands.left):  # both crops show one hand
            return _only(hands, (max(hands.present, key=lambda hand: hand.presence).side,))
        return hands

    def _kept(self, hands: Hands) -> Hands:
        """The same with the hands present that are good enough to go on with."""
        least = KEPT_SHARE * PRESENT_FROM
        known = {side for side, (frame, _) in self._seen.items() if self._frame - frame < HOLD_FRAMES}
        kept = tuple(h.side for h in (hands.right, hands.left) if h.present or (h.side in known and h.presence > least))
        return _only(hands, kept)

    def _search_second(self, image: Rgb, hands: Hands) -> Hands:
        """Look for the hand that is missing: both are taken anew where two are seen and one is the known one."""
        (known,) = hands.present
        found = self._runner.find_hands(image, far=False)
        if len(found.boxes) < 2:
            return replace(hands, stages_ms={"find": found.took_ms, **hands.stages_ms})
        both = self._runner.look_at(image, found)
        better = len(both.present) == 2 and any(in_one_place(hand, known) for hand in both.present)
        return replace(both if better else hands, stages_ms=sum_ms(both, hands))

    def _move_boxes(self) -> None:
        """Boxes around what was seen lately; a box stays where it is as long as it fits."""
        recent = {side: joints for side, (frame, joints) in self._seen.items() if self._frame - frame <= HOLD_FRAMES}
        wanted = {side: box for side, joints in recent.items() if (box := box_around(joints, *self._size)) is not None}
        if len(wanted) == 2 and not boxes_apart(
            np.stack([_square(joints) for joints in recent.values()]), TOGETHER_SHARE if len(self.boxes) == 2 else 1
        ):
            both = box_around(np.concatenate(list(recent.values())), *self._size)
            wanted = wanted if both is None else {"both": both}
        kept = {key: box for key, box in self.boxes.items() if key in wanted and near(box, wanted[key])}
        self.boxes = wanted | kept


def box_around(joints_px: NDArray[np.floating[Any]], width: int, height: int) -> Box | None:
    """The box of joints (N, 2), px, in a picture of that size; None where hardly any of it lies in the picture."""
    low, high = _corners(joints_px)
    margin = (BOX_OVER_JOINTS - 1) / 2 * (high - low)
    low, high = (np.clip(corner, 0, (width, height)) for corner in (low - margin, high + margin))
    return None if (high - low).min() < _MIN_SIDE_PX else np.concatenate([low, high - low])


def near(first: Box, second: Box) -> bool:
    """Whether no edge differs by more than `STAY_WITHIN` of the first box's longer side."""
    edges = np.concatenate([first[:2] - second[:2], first[:2] + first[2:] - second[:2] - second[2:]])
    return bool(np.abs(edges).max() <= STAY_WITHIN * first[2:].max())


def _only(hands: Hands, sides: tuple[str, ...]) -> Hands:
    """The same with no hand present but those of `sides`."""
    right, left = (replace(hand, present=hand.side in sides) for hand in (hands.right, hands.left))
    return replace(hands, right=right, left=left)


def _square(joints_px: Floats) -> Box:
    """The square (4,) around a hand's joints (N, 2) that the finder would give."""
    low, high = _corners(joints_px)
    side = _FINDER_OVER_JOINTS * (high - low).max()
    return np.array([*((low + high - side) / 2), side, side])


def _corners(joints_px: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return joints_px.min(axis=0).astype(np.float64), joints_px.max(axis=0).astype(np.float64)
