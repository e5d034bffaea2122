"""From frame to frame: where to look for the hands.

The network wants a crop around both hands. In a video the joints found in one frame say where to look in the next one
(Zhang et al., "MediaPipe Hands: On-device Real-time Hand Tracking", 2020); where there are none, the picture is
searched, a few squares per frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.hand.hands import Floats, Hand, Hands, join_hands
from runtime.image.crop import BOX_SCALE, box_of_image
from runtime.image.reading import Rgb, as_rgb_uint8
from runtime.image.scratch import Scratch

Box = NDArray[np.float64]  # (4,) x, y, width, height, px

# Training has 1.2 around the true joints. Found ones are not as good, and a crop that cuts hands off makes them look
# smaller, and the next crop with them: with 1.2 tracks collapse.
BOX_OVER_JOINTS = 1.5
# A hand is held to be real where heat maps and mesh, two branches of the network, see its joints in the same place: on
# average they are 8 to 20 mm apart on hands, and 45 to 70 mm where there is none (er-xs, synthetic). It takes more to
# be found than to be kept.
FOUND_WITHIN_M, KEPT_WITHIN_M = 0.035, 0.055
# A box stays while the joints ask for one this near, in parts of its side: one that follows every pixel makes the
# network's own noise move its next picture, and still hands wander.
STAY_WITHIN = 0.1
HOLD_FRAMES = 5  # a hand that is missed for a moment keeps its place
# Hands that are further apart have a crop each: one around both would show them small, with much between them.
# In longer sides of the larger hand's box: they part at the first distance and come together at the second.
APART_FROM, TOGETHER_WITHIN = 1.9, 1.6
SEARCH_BUDGET = 5  # runs of the network per frame while no hand is known
_SAME_PLACE = 0.25  # of a hand's size: closer than this, two hands seen one by one are one hand seen twice
_SEARCH_SCALES = (1.0, 0.6)  # squares, in short sides of the picture
_SEARCH_STEP = 0.6  # from one square to the next, at most, in their sides
_MIN_SIDE_PX = 8.0


Predict = Callable[..., Hands]  # a Runner, or what stands in for one: (H, W, 3) uint8 RGB, box in px


class Tracker:
    """`tracker(rgb) -> Hands` for the frames of one video, in their order.

    It keeps what it saw last, so every video needs its own and threads must not share one; the runner may be shared.
    `present` of its hands also asks that heat maps and mesh agree. `stages_ms` sums all runs a frame took: one; two
    where the hands are apart; two or three where one is missing; at most `SEARCH_BUDGET` where both are, and up to two
    more in the few frames after they were lost.
    """

    def __init__(self, predict: Predict) -> None:
        self._predict = predict
        self._scratch = Scratch()
        self.reset()

    def reset(self) -> None:
        """Forget everything, as before the first frame."""
        self._frame = 0
        self._size = (0, 0)
        self._seen: dict[str, tuple[int, Floats]] = {}  # side -> frame, joints (21, 2) px
        self._boxes: dict[str, Box] = {}
        self._search_turn = 0
        self._second_turn = 0
        self._spent_ms: dict[str, float] = {}

    @property
    def boxes(self) -> dict[str, Box]:
        """Where the next frame is looked at first: `both`, or `right` and `left`; empty where the hands are lost."""
        return dict(self._boxes)

    def __call__(self, rgb: NDArray[Any]) -> Hands:
        """Find the hands of the next frame, (H, W, 3) uint8 RGB. Errors are the runner's."""
        image = as_rgb_uint8(rgb, self._scratch)
        size = (image.shape[1], image.shape[0])
        if size != self._size:
            self.reset()
            self._size = size
        self._spent_ms = {}
        hands = self._look_where_they_were(image)
        if hands is None or not hands.present:
            hands = self._search(image)
        elif len(hands.present) == 1 and len(self._boxes) == 1:
            hands = self._look_for_second(image, hands)
        self._frame += 1
        self._seen.update({hand.side: (self._frame, hand.joints_image) for hand in hands.present})
        self._move_boxes()
        return replace(hands, stages_ms=self._spent_ms)

    def _look_where_they_were(self, image: Rgb) -> Hands | None:
        seen = {key: self._look(image, box, KEPT_WITHIN_M) for key, box in self._boxes.items()}
        if len(seen) < 2:
            return next(iter(seen.values()), None)
        return join_hands(seen["right"], seen["left"])

    def _search(self, image: Rgb) -> Hands:
        """Look into the next few squares; a hand seen there has to show itself in a crop of its own."""
        squares = search_boxes(*self._size, _SEARCH_SCALES)
        runs = 0
        while True:
            hands = self._run(image, squares[self._search_turn % len(squares)])
            self._search_turn += 1
            runs += 1
            box = self._box_of(hands.present)
            if box is not None and runs < SEARCH_BUDGET:
                closer = self._look(image, box)
                runs += 1
                if closer.present:
                    return closer
            if runs >= SEARCH_BUDGET - 1:  # two are needed to find something
                return _only(hands, ())

    def _look_for_second(self, image: Rgb, hands: Hands) -> Hands:
        """One more look for the hand that is missing: where it was last, and at the next large square."""
        (known,) = hands.present
        missing = "left" if known.side == "right" else "right"
        places = search_boxes(*self._size, _SEARCH_SCALES[:1])
        if missing in self._seen and (last := self._box_of_joints(self._seen[missing][1])) is not None:
            places.append(last)
        place = places[self._second_turn % len(places)]
        self._second_turn += 1
        hand = _of(self._run(image, place), missing)
        box = self._box_of((hand,)) if hand.present else None
        if box is None:
            return hands
        closer = self._look(image, box)
        hand = _of(closer, missing)
        if not hand.present or (len(closer.present) < 2 and _same_place(hand, known)):
            return hands
        return join_hands(closer, hands) if missing == "right" else join_hands(hands, closer)

    def _move_boxes(self) -> None:
        """Boxes around what was seen lately; a box stays where it is as long as it fits."""
        recent = {side: joints for side, (frame, joints) in self._seen.items() if self._frame - frame <= HOLD_FRAMES}
        wanted = {side: box for side, joints in recent.items() if (box := self._box_of_joints(joints)) is not None}
        if len(wanted) == 2:
            both = self._box_of_joints(np.concatenate(list(recent.values())))
            limit = TOGETHER_WITHIN if len(self._boxes) == 2 else APART_FROM
            if both is not None and both[2:].max() <= limit * max(box[2:].max() for box in wanted.values()):
                wanted = {"both": both}
        kept = {key: box for key, box in self._boxes.items() if key in wanted and near(box, wanted[key])}
        self._boxes = wanted | kept

    def _look(self, image: Rgb, box: Box, within_m: float = FOUND_WITHIN_M) -> Hands:
        """What the network sees in a box, without hands its branches do not agree on."""
        hands = self._run(image, box)
        return _only(hands, tuple(hand.side for hand in hands.present if disagreement_m(hand) <= within_m))

    def _run(self, image: Rgb, box: Box) -> Hands:
        hands = self._predict(image, box)
        for stage, ms in hands.stages_ms.items():
            self._spent_ms[stage] = self._spent_ms.get(stage, 0.0) + ms
        return hands

    def _box_of(self, hands: tuple[Hand, ...]) -> Box | None:
        return self._box_of_joints(np.concatenate([hand.joints_image for hand in hands])) if hands else None

    def _box_of_joints(self, joints_px: Floats) -> Box | None:
        return box_around(joints_px, *self._size)


def disagreement_m(hand: Hand) -> float:
    """Mean distance between the joints of the mesh and those of the heat maps across the line of sight, metres."""
    apart_px = np.linalg.norm(hand.joints_image - hand.joints_heatmap[:, :2], axis=1).mean()
    scale = float(hand.camera[0])
    return float(apart_px) / scale if scale > 0 else float("inf")


def box_around(joints_px: NDArray[np.floating[Any]], width: int, height: int) -> Box | None:
    """The box of joints (N, 2), px, in a picture of that size; None where hardly any of it lies in the picture."""
    low, high = joints_px.min(axis=0).astype(np.float64), joints_px.max(axis=0).astype(np.float64)
    return clipped(scaled(np.concatenate([low, high - low]), BOX_OVER_JOINTS), width, height)


def scaled(box: Box, factor: float) -> Box:
    """The box grown about its centre."""
    extent = box[2:] * factor
    return np.concatenate([box[:2] + (box[2:] - extent) / 2, extent])


def clipped(box: Box, width: int, height: int) -> Box | None:
    """The part of the box that lies in the picture, None where it is next to nothing."""
    low = np.clip(box[:2], 0, (width, height))
    high = np.clip(box[:2] + box[2:], 0, (width, height))
    if (high - low).min() < _MIN_SIDE_PX:
        return None
    return np.concatenate([low, high - low])


def near(first: Box, second: Box) -> bool:
    """Whether no edge differs by more than `STAY_WITHIN` of the first box's longer side."""
    edges = np.concatenate([first[:2] - second[:2], first[:2] + first[2:] - second[:2] - second[2:]])
    return bool(np.abs(edges).max() <= STAY_WITHIN * first[2:].max())


def search_boxes(width: int, height: int, scales: tuple[float, ...]) -> list[Box]:
    """Where hands are searched: the whole picture, then overlapping squares, their sides in short sides."""
    boxes = [box_of_image(width, height)]
    for scale in scales:
        side = scale * min(width, height)
        columns, rows = (_starts(length, side) for length in (width, height))
        # The runner's crop is larger than its box: the box of a square is the square without that.
        boxes += [scaled(np.array([x, y, side, side]), 1 / BOX_SCALE) for y in rows for x in columns]
    return boxes


def _starts(length: float, side: float) -> list[float]:
    """Where squares start that cover a length and overlap."""
    count = 1 + int(np.ceil((length - side) / (_SEARCH_STEP * side) - 1e-9))
    return [float(start) for start in np.linspace(0, length - side, count)]


def _only(hands: Hands, sides: tuple[str, ...]) -> Hands:
    """The same with no hand present but those of `sides`."""
    right, left = (replace(hand, present=hand.side in sides) for hand in (hands.right, hands.left))
    return replace(hands, right=right, left=left)


def _of(hands: Hands, side: str) -> Hand:
    return hands.right if side == "right" else hands.left


def _same_place(first: Hand, second: Hand) -> bool:
    apart_px = np.linalg.norm(first.joints_image.mean(axis=0) - second.joints_image.mean(axis=0))
    return bool(apart_px < _SAME_PLACE * np.ptp(second.joints_image, axis=0).max())
