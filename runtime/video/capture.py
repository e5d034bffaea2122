"""Frames of video files, cameras, streams and pipelines, each with its time, by OpenCV."""

from __future__ import annotations

import contextlib
import math
import os
import time
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..files import utf8_path
from ..image.reading import Rgb
from .inputs import Input

DEFAULT_FPS = 30.0
_MAX_FPS = 480.0  # WebM files of browsers say 1000: they count milliseconds
_MAX_GAP_S = 600.0  # between frames: where recordings were put together, stamps may jump by hours
# A live source that misses a frame is asked again, opened again every second, and given up.
RETRY_S, REOPEN_S, GIVE_UP_S = 0.05, 1.0, 10.0

_ADVICE = {
    "video": "is it a video, and whole?",
    "pipeline": "does it run in gst-launch-1.0, and is this OpenCV built with GStreamer? pip's is not",
}
_LIVE_ADVICE = "is it connected, used by no other program, and may you open it (group video)?"
_MODE = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)
_TO_RGB = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}  # by channels
_BACKENDS = {"pipeline": (cv2.CAP_GSTREAMER,)}  # OpenCV's choice for all others


class SourceLost(UserError):
    """A live source that gives no frames any more."""


class CaptureSource:
    """Frames in their order, from what OpenCV opens: a file, stream or pipeline, or a camera at a size (px) and rate.

    A UserError where it does not open, or has no such size or rate. One thread reads.
    """

    def __init__(self, wanted: Input, size: tuple[int, int] | None = None, fps: float | None = None) -> None:
        # FFmpeg writes to stderr by itself; what is wrong stands in the error.
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        if not wanted.live and not Path(wanted.target).is_file():
            what = "is not a regular file" if Path(wanted.target).exists() else "is not there"
            raise UserError(f"the {wanted.name} {what}: check the path")
        self.name, self.live = wanted.name, wanted.live  # live: what is not taken in time is lost
        self._input = wanted
        modes = zip(_MODE, (*(size or (None, None)), fps), strict=True)
        self._mode = {key: float(value) for key, value in modes if value is not None}
        self._capture = self._open()
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = rate if math.isfinite(rate) and 0 < rate <= _MAX_FPS else DEFAULT_FPS
        self._start_s = self._last_s = math.nan  # of the stamps; the last frame's time

    def _open(self) -> Any:
        try:
            target = utf8_path(self._input.target)
            number = self._input.kind == "camera" and target.isdecimal()
            capture: Any = cv2.VideoCapture(int(target) if number else target, *_BACKENDS.get(self._input.kind, ()))
        except cv2.error:
            capture = None
        if capture is None or not capture.isOpened():
            raise UserError(f"cannot open {self.name}: {_ADVICE.get(self._input.kind, _LIVE_ADVICE)}")
        given: list[float] = []
        for jpeg in ({}, {cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"MJPG")}):  # raw is too many bytes for USB 2
            for key, value in {**jpeg, **self._mode}.items():
                capture.set(key, value)
            given = [capture.get(key) for key in self._mode]
            if np.allclose(given, list(self._mode.values()), rtol=0.02):
                return capture
        raise UserError(f"{self.name} offers {' '.join(f'{x:g}' for x in given)} instead: give a mode that it has")

    def read(self) -> tuple[float, Rgb] | None:
        """The next frame's time, s since the first one, rising, and its pixels (H, W, 3) RGB; None after a file's last.

        SourceLost where a live source gives no more.
        """
        bgr = self._grab()
        if bgr is None and self.live:
            bgr = self._wait_for_frame()
        return None if bgr is None else (self._time_s(), _rgb(bgr, self.name))

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
                opened_s = now
                self._capture.release()
                with contextlib.suppress(UserError):  # the released one gives nothing; the next try may open
                    self._capture = self._open()
            if (bgr := self._grab()) is not None:
                return bgr
        raise SourceLost(f"{self.name} gives no frames any more: {_LIVE_ADVICE}")

    def _time_s(self) -> float:
        """By the clock, or by the file's stamps; where those do not rise, or jump, by its rate."""
        stamp_s = time.monotonic() if self.live else self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if math.isnan(self._last_s):
            self._start_s = stamp_s
            self._last_s = 0.0
        elif self._last_s < stamp_s - self._start_s <= self._last_s + _MAX_GAP_S:
            self._last_s = stamp_s - self._start_s
        else:
            self._last_s += 1 / self.fps
            self._start_s = stamp_s - self._last_s
        return self._last_s

    def close(self) -> None:
        """Let go of the file or device."""
        self._capture.release()


def _rgb(frame: NDArray[Any], name: str) -> Rgb:
    """A frame as OpenCV gives it; pipelines and infrared cameras may give gray ones, or 16 bits."""
    if frame.dtype == np.uint16:
        frame = (frame >> 8).astype(np.uint8)
    code = _TO_RGB.get(frame.shape[2] if frame.ndim == 3 else 1)
    if code is None or frame.dtype != np.uint8:
        raise UserError(f"{name} gives frames {frame.shape} {frame.dtype}: convert them to BGR (videoconvert)")
    return cast(Rgb, cv2.cvtColor(frame, code))
