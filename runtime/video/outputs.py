"""Where a video's hands go: an mp4 file, a window, lines of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2

from ..errors import UserError
from ..files import atomic_path, utf8_path
from ..image.draw import write_text
from ..image.reading import Rgb
from .loop import FoundFrame

_QUIT_KEYS = frozenset((ord("q"), 27))  # Escape
_LINE_PX = 18.0  # of the stage times, in a picture of _TEXT_REFERENCE_PX
_TEXT_REFERENCE_PX = 480.0


class VideoFile:
    """Frames -> one mp4 file (MPEG-4), as large as the first of them."""

    def __init__(self, path: Path, shown_as: Path, fps: float) -> None:
        self._path, self._shown_as = utf8_path(path), shown_as
        # MPEG-4 counts time in 65535 parts of a second at most; time lapse may have less than a frame a minute.
        self._fps = max(round(fps, 2), 0.01)
        self._writer: Any = None
        self._size = (0, 0)
        self._frames = 0

    def write(self, rgb: Rgb, time_s: float | None = None) -> None:
        """Append a frame (H, W, 3): once, or as often as plays it at `time_s`, which a camera's frames need."""
        size = (rgb.shape[1], rgb.shape[0])
        if self._writer is None:
            self._size = size
            self._writer = cv2.VideoWriter(self._path, cv2.VideoWriter.fourcc(*"mp4v"), self._fps, size)
            if not self._writer.isOpened():
                raise UserError(f"this OpenCV cannot write {self._shown_as}: leave out the video (--no-overlay)")
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        if size != self._size:  # a stream that changed its size
            bgr = cv2.resize(bgr, self._size, interpolation=cv2.INTER_AREA)
        until = self._frames + 1 if time_s is None else round(time_s * self._fps) + 1
        for _ in range(self._frames, until):
            self._writer.write(bgr)
        self._frames = max(self._frames, until)

    def close(self) -> None:
        """Finish the file: without this it cannot be played. A UserError where frames are missing from it."""
        if self._writer is None:
            return
        self._writer.release()
        written: Any = cv2.VideoCapture(self._path)  # the writer tells nothing of a full disk
        count = written.get(cv2.CAP_PROP_FRAME_COUNT)
        written.release()
        if count < self._frames:
            raise UserError(f"cannot write {self._shown_as}: frames are missing; is the disk full?")


@contextlib.contextmanager
def video_file(path: Path, fps: float) -> Iterator[VideoFile]:
    """A video that takes the place of `path` when the block ends well."""
    with (
        atomic_path(path, suffix=".part.mp4") as temporary,
        contextlib.closing(VideoFile(temporary, path, fps)) as video,
    ):
        yield video


class Window:
    """A window on the screen. A UserError where there is none."""

    def __init__(self, title: str) -> None:
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise UserError("there is no screen to show a window on: leave out --show")  # some toolkits abort
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL)
        except cv2.error:
            raise UserError(
                "this OpenCV is built without windows: leave out --show, or install opencv-python"
            ) from None
        self._title = title

    def show(self, rgb: Rgb) -> bool:
        """Show a frame; False once the user closed the window or pressed q or Escape."""
        cv2.imshow(self._title, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        key = cv2.waitKey(1) & 0xFF
        return key not in _QUIT_KEYS and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1

    def close(self) -> None:
        """Take the window off the screen."""
        cv2.destroyWindow(self._title)


def json_line(found: FoundFrame, about: Mapping[str, Any]) -> str:
    """One frame, and what else there is to say, as one line of JSON."""
    facts = found.hands.to_json_dict()
    del facts["joint_names"]  # the same in every line
    line = {"frame": found.frame.number, "time_s": round(found.frame.time_s, 4), **facts, **about}
    return json.dumps(line, allow_nan=False)


def draw_times(image: Rgb, fps: float, stages_ms: Mapping[str, float]) -> None:
    """Write frames per second and what each stage takes into the image's upper left corner."""
    lines = [f"{fps:.1f} fps", *(f"{stage} {ms:.1f} ms" for stage, ms in stages_ms.items())]
    size = max(min(image.shape[:2]) / _TEXT_REFERENCE_PX, 0.5)
    for index, line in enumerate(lines, start=1):
        write_text(image, line, (int(8 * size), int(index * _LINE_PX * size)), size)
