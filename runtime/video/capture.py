"""Frames of video files, cameras, streams and pipelines, each with its time, by OpenCV."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from pathlib import Path
from typing import Any, Protocol, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.errors import UserError
from runtime.image.reading import Rgb
from runtime.video.inputs import Input

DEFAULT_FPS = 30.0
_MAX_FPS = 480.0  # WebM files of browsers say 1000: they count milliseconds
# A live source that misses a frame is asked again, then opened again, and given up after a while without a frame, or
# when it has to be opened again and again.
RETRY_S, REOPEN_S, GIVE_UP_S = 0.05, 1.0, 10.0
MOST_REOPENED, REOPENED_WITHIN_S = 3, 60.0

_ADVICE = {
    "video": "is it a video, and whole?",
    "pipeline": "does it run in gst-launch-1.0, and is this OpenCV built with GStreamer? pip's is not",
}
_LIVE_ADVICE = "is it connected, and used by no other program?"
_MODE = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)
_BACKENDS = {"pipeline": (cv2.CAP_GSTREAMER,)}  # OpenCV's choice for all others


class SourceLost(UserError):
    """A live source that gives no frames any more."""


class Source(Protocol):
    """Frames in their order. One thread reads."""

    name: str
    live: bool  # frames come when they come: what is not taken in time is lost
    fps: float

    def read(self) -> tuple[float, Rgb] | None:
        """The next frame's time, s since the first one, rising, and its pixels (H, W, 3) RGB; None after the last."""

    def close(self) -> None:
        """Let go of the file or device."""


class CaptureSource:
    """What OpenCV opens. A UserError where it does not, or where a camera has no such size (px) or rate."""

    def __init__(self, wanted: Input, size: tuple[int, int] | None = None, fps: float | None = None) -> None:
        self.name, self.live = wanted.name, wanted.live
        self._input = wanted
        modes = zip(_MODE, (*(size or (None, None)), fps), strict=True)
        self._mode = {key: float(value) for key, value in modes if value is not None}
        self._capture = self._open()
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = rate if math.isfinite(rate) and 0 < rate <= _MAX_FPS else DEFAULT_FPS
        self._start_s = self._last_s = math.nan  # of the stamps; the last frame's time
        self._reopened: deque[float] = deque(maxlen=MOST_REOPENED)  # when

    def _open(self) -> Any:
        try:
            target = self._input.target
            number = self._input.kind == "camera" and target.isdecimal()
            capture: Any = cv2.VideoCapture(int(target) if number else target, *_BACKENDS.get(self._input.kind, ()))
        except cv2.error:
            capture = None
        if capture is None or not capture.isOpened():
            raise UserError(f"cannot open {self.name}: {_ADVICE.get(self._input.kind, _LIVE_ADVICE)}")
        for key, value in self._mode.items():
            capture.set(key, value)
        given = [capture.get(key) for key in self._mode]
        if not np.allclose(given, list(self._mode.values()), rtol=0.02):
            raise UserError(f"{self.name} offers {' '.join(f'{x:g}' for x in given)} instead: give a mode that it has")
        return capture

    def read(self) -> tuple[float, Rgb] | None:
        """The next frame's time and pixels; None after a file's last one. SourceLost where no more come."""
        bgr = self._grab()
        if bgr is None and self.live:
            bgr = self._wait_for_frame()
        return None if bgr is None else (self._time_s(), cast(Rgb, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)))

    def _grab(self) -> NDArray[np.uint8] | None:
        try:
            done, bgr = self._capture.read()
        except cv2.error:
            return None
        return bgr if done else None

    def _wait_for_frame(self) -> NDArray[np.uint8]:
        """Ask again, and open the source again."""
        lost_s = opened_s = time.monotonic()
        while (now := time.monotonic()) < lost_s + GIVE_UP_S:
            time.sleep(RETRY_S)
            if now > opened_s + REOPEN_S:
                often = len(self._reopened) == MOST_REOPENED and now < self._reopened[0] + REOPENED_WITHIN_S
                if often:
                    break
                opened_s = now
                self._reopen()
            bgr = self._grab()
            if bgr is not None:
                return bgr
        raise SourceLost(f"{self.name} gives no frames any more: {_LIVE_ADVICE}")

    def _reopen(self) -> None:
        self._capture.release()
        try:
            self._capture = self._open()
        except UserError:
            return  # the released capture gives nothing; the next try may open
        self._reopened.append(time.monotonic())

    def _time_s(self) -> float:
        """By the clock, or by the file's stamps; where those do not rise, by its rate."""
        stamp_s = time.monotonic() if self.live else self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if math.isnan(self._last_s):
            self._start_s = stamp_s
            self._last_s = 0.0
        elif stamp_s - self._start_s > self._last_s:
            self._last_s = stamp_s - self._start_s
        else:
            self._last_s += 1 / self.fps
            self._start_s = stamp_s - self._last_s
        return self._last_s

    def close(self) -> None:
        """Let go of the file or device."""
        self._capture.release()


def open_source(wanted: Input, size: tuple[int, int] | None = None, fps: float | None = None) -> CaptureSource:
    """Open a video file, stream or pipeline, or a camera at the wanted size and rate."""
    # FFmpeg writes to stderr by itself; what is wrong stands in the error.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if not wanted.live and not Path(wanted.target).is_file():
        what = "is not a regular file" if Path(wanted.target).exists() else "is not there"
        raise UserError(f"the {wanted.name} {what}: check the path")
    return CaptureSource(wanted, size, fps)
