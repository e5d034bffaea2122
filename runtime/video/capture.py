"""Where frames come from: video files, cameras and RTSP streams, by OpenCV."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any, Protocol, cast

import cv2

from runtime.errors import UserError
from runtime.image.reading import Rgb

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".ogv", ".wmv")
STREAM_SCHEMES = ("rtsp://", "rtsps://")
DEFAULT_FPS = 30.0
_MAX_FPS = 1000.0
_MAX_CAMERA = 99


class Source(Protocol):
    """Frames in their order. One thread reads."""

    name: str
    live: bool  # frames come when they come: what is not taken in time is lost
    fps: float

    def read(self) -> Rgb | None:
        """The next frame (H, W, 3) RGB, None after the last one."""

    def close(self) -> None:
        """Let go of the file or device."""


class CaptureSource:
    """What OpenCV opens. A UserError where it does not."""

    def __init__(self, target: int | str, name: str, live: bool) -> None:
        self.name = name
        self.live = live
        try:
            self._capture: Any = cv2.VideoCapture(target)
        except cv2.error:
            raise _unusable(name, live) from None
        if not self._capture.isOpened():
            raise _unusable(name, live)
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if math.isfinite(fps) and 0 < fps <= _MAX_FPS else DEFAULT_FPS

    @property
    def frame_count(self) -> int:
        """Of a file, by its header."""
        return int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))

    def read(self) -> Rgb | None:
        """The next frame (H, W, 3) RGB; None after the last one, and when a camera is gone."""
        try:
            done, bgr = self._capture.read()
        except cv2.error:
            return None
        return cast(Rgb, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)) if done else None

    def close(self) -> None:
        """Let go of the file or device."""
        self._capture.release()


def is_video(text: str) -> bool:
    """Whether a command line's input is a camera number, a stream or a video file, rather than an image."""
    return text.isdecimal() or "://" in text or Path(text).suffix.lower() in VIDEO_SUFFIXES


def open_source(text: str) -> CaptureSource:
    """Open a camera number, an RTSP address or a video file."""
    # FFmpeg writes to stderr by itself; what is wrong stands in the error.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if text.isdecimal():
        if int(text) > _MAX_CAMERA:
            raise UserError(f"there is no camera {text[:20]}: give 0 for the first one")
        return CaptureSource(int(text), f"camera {int(text)}", live=True)
    if "://" in text:
        if not text.lower().startswith(STREAM_SCHEMES):
            raise UserError(f"cannot read {without_password(text)}: of addresses only rtsp:// and rtsps:// are")
        return CaptureSource(text, without_password(text), live=True)
    path = Path(text)
    try:
        if not path.is_file():
            what = "is not a regular file" if path.exists() else "is not there"
            raise UserError(f"the video {path} {what}: check the path")
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the video {text!r}: {error}") from None
    return CaptureSource(str(path), f"video {path}", live=False)


def source_stem(text: str) -> str:
    """What to call the files made from an input."""
    if text.isdecimal():
        return f"camera{int(text)}"
    return "stream" if "://" in text else Path(text).stem


def without_password(address: str) -> str:
    """An address that may be shown: without user and password."""
    return re.sub(r"//[^/@]*@", "//", address)


def _unusable(name: str, live: bool) -> UserError:
    advice = "is it connected, and used by no other program?" if live else "is it a video, and whole?"
    return UserError(f"cannot open {name}: {advice}")
