"""Image in, hands out: the path every product, demo and accuracy figure takes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .backends.backend import Backend
from .backends.contract import OUTPUT_SHAPES, ModelInfo, input_shape
from .backends.opening import open_backend
from .errors import UserError
from .finder.finder import Finder, FoundBoxes
from .finder.palms import Boxes, boxes_apart
from .hand.decode import decode
from .hand.hand_model import HandPair, load_hand_models
from .hand.hands import Hands, join_hands
from .hand.presence import PresenceRule, presence_rule
from .image.crop import Crop, box_meets_image, crop_from_box, crop_of_image, split_planes
from .image.reading import Rgb, Scratch, as_rgb_uint8

_WHITE = np.float32(255)
_NOTHING = {name: np.zeros(shape, np.float32) for name, shape in OUTPUT_SHAPES.items()}  # seen: resting hands
_NOTHING["presence"] -= 1000


class Runner:
    """A loaded model: `runner(rgb) -> Hands` finds the hands of a whole picture, `runner(rgb, box)` is told where.

    It keeps nothing but memory between calls; threads may share it.
    """

    def __init__(self, backend: Backend, models: HandPair, open_finder: Callable[[], Finder] = Finder) -> None:
        self.info: ModelInfo = backend.info
        self.provider: str = backend.provider
        self.models = models
        self.presence: PresenceRule = presence_rule(backend.info.variant)
        self._backend: Backend | None = backend
        self._open_finder = open_finder
        self._finder: Finder | None = None  # opened by the first call that wants it
        self._opening = threading.Lock()
        self._scratch = Scratch()
        self._loaded_by: tuple[Any, ...] | None = None  # the arguments of `load`

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what a worker loads it by: engines cannot travel. The files must be there, too."""
        if self._loaded_by is None:
            raise TypeError("only a runner that `load` made can be pickled")
        return load, self._loaded_by

    @property
    def input_px(self) -> int:
        """Side of the crop the network looks at."""
        return self.info.input_px

    def __call__(self, rgb: NDArray[Any], box: ArrayLike | None = None) -> Hands:
        """Find both hands of an image.

        Without a box the finder says where to look first: once, at the box around both hands; where they are far apart,
        at each alone, and `Hands.together` is False; where it sees none, nowhere.

        Args:
            rgb: (H, W, 3) uint8, RGB (OpenCV reads BGR: convert it).
            box: x, y, width, height in px around both hands.
        """
        if box is not None:
            return self.presence.judge(self._look(rgb, box))
        return self.look_at(rgb, self.find_hands(rgb))

    def look_at(self, rgb: NDArray[Any], found: FoundBoxes) -> Hands:
        """Look at what the finder found in a picture, as a call without a box does."""
        find_ms = {"find": found.took_ms}
        if found.pair_box is None:
            nothing = decode(_NOTHING, crop_of_image(1, 1, self.input_px), self.info.heatmap, self.models)
            return Hands(*nothing, np.zeros(3, np.float32), find_ms)
        if boxes_apart(found.boxes):
            # A fist alone may be either hand: a look at both says better which is which, and whether.
            pair, one, other = (self._look(rgb, box) for box in (found.pair_box, *found.boxes))
            swapped = _right_is_second(pair, one, other, found.boxes)
            hands = join_hands(other, one, pair) if swapped else join_hands(one, other, pair)
        else:
            hands = self._look(rgb, found.pair_box)
        hands = self.presence.judge(hands, found)
        return replace(hands, stages_ms=find_ms | dict(hands.stages_ms))

    def find_hands(self, rgb: NDArray[Any], *, far: bool = True) -> FoundBoxes:
        """Find the boxes of up to two hands, as a call without a box does; `far`: small ones, too."""
        self._check_open()
        with self._opening:
            self._finder = self._finder or self._open_finder()
        return self._finder.find_hands(rgb, far=far)

    def run_crop(self, crop_rgb: Rgb) -> Hands:
        """Find both hands of a crop that is cut already, (S, S, 3) uint8 RGB; pixels are then the crop's own."""
        start = time.perf_counter()
        side = self.input_px
        if crop_rgb.shape != (side, side, 3) or crop_rgb.dtype != np.uint8:
            raise UserError(f"a crop is ({side}, {side}, 3) uint8, not {crop_rgb.shape} {crop_rgb.dtype}")
        planes = split_planes(np.ascontiguousarray(crop_rgb), self._scratch)
        return self.presence.judge(self._hands_in(planes, crop_of_image(side, side, side), start))

    def _look(self, rgb: NDArray[Any], box: ArrayLike) -> Hands:
        """What the network sees in a box, with its own presence."""
        start = time.perf_counter()
        image = as_rgb_uint8(rgb, self._scratch)
        height, width = image.shape[:2]
        if not box_meets_image(box, width, height):
            raise UserError(f"the box lies outside the image of {width} x {height} px: give x, y, width and height")
        crop = crop_from_box(box, self.input_px)
        return self._hands_in(crop.planes(image, self._scratch), crop, start)

    def _hands_in(self, planes: NDArray[np.uint8], crop: Crop, start: float) -> Hands:
        """Run the network on the crop's pixels, (3, S, S), and decode what it says."""
        backend = self._check_open()
        image = self._scratch.array("image", input_shape(self.input_px), np.float32)
        np.divide(planes, _WHITE, out=image[0])
        preprocessed = time.perf_counter()
        outputs = backend.run(image)
        inferred = time.perf_counter()
        right, left = decode(outputs, crop, self.info.heatmap, self.models)
        stages_ms = {
            "preprocess": 1000 * (preprocessed - start),
            "inference": 1000 * (inferred - preprocessed),
            "postprocess": 1000 * (time.perf_counter() - inferred),
        }
        return Hands(right, left, outputs["relative_translation"][0], stages_ms)

    def _check_open(self) -> Backend:
        if self._backend is None:
            raise ValueError("the runner is closed")
        return self._backend

    def close(self) -> None:
        """Let go of the engine and the finder; the runner cannot be used any more."""
        self._finder = None
        if self._backend is not None:
            self._backend.close()
            self._backend = None

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _right_is_second(pair: Hands, one: Hands, other: Hands, boxes: Boxes) -> bool:
    """Whether the right hand lies in the second of two boxes: by where a look at both has the hands, in distances
    between the boxes, and by the presence that a look at each has of either side. Both are -2..2; the first counts
    double: of hands alone in photographs the networks mistake many."""
    centres = boxes[:, :2] + boxes[:, 2:] / 2
    right, left = (np.linalg.norm(hand.joints_image.mean(axis=0) - centres, axis=1) for hand in (pair.right, pair.left))
    nearer = (right[0] + left[1] - right[1] - left[0]) / max(np.linalg.norm(centres[0] - centres[1]), 1)
    surer = other.right.presence + one.left.presence - one.right.presence - other.left.presence
    return bool(2 * nearer + surer > 0)


def load(
    path: str | os.PathLike[str],
    device: str = "auto",
    threads: int | None = None,
    hand_model: str | os.PathLike[str] | None = None,
) -> Runner:
    """Load a model file, and the hand model it was trained on (None: the embedded one)."""
    model_path = Path(path).absolute()
    hand_path = None if hand_model is None else Path(hand_model).absolute()
    pair = load_hand_models(hand_path)
    backend = open_backend(Path(path), device, threads)
    wanted, given = backend.info.hand_model_name, pair.right.name
    if backend.info.hand_model_sha256 != pair.right.sha256:
        backend.close()
        what = f"hand model '{wanted}', not '{given}'" if wanted != given else f"another file of hand model '{given}'"
        raise UserError(f"{path} was trained on {what}: give the matching one (--hand-model FILE)")
    runner = Runner(backend, pair, partial(Finder, threads))
    runner._loaded_by = (str(model_path), device, threads, None if hand_path is None else str(hand_path))
    return runner


def graph_input(crop_rgb: Rgb) -> NDArray[np.float32]:
    """(S, S, 3) uint8 -> (1, 3, S, S) float32, 0..1: the graph's `image`."""
    return np.ascontiguousarray(crop_rgb.transpose(2, 0, 1)[None], np.float32) / _WHITE
