"""Sources that OpenCV opens: the times of frames, and faults that pass or do not."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.errors import UserError
from runtime.video import capture
from runtime.video.capture import CaptureSource, SourceLost
from runtime.video.inputs import Input, parse_input
from runtime.video.outputs import video_file

CLIP = Input("video", __file__, "video clip.mp4", "clip")  # any file that is there
FRAME = np.zeros((4, 4, 3), np.uint8)


class Fake:
    """A capture that gives frames where its script says True, and other properties than those set."""

    def __init__(self, script: Iterator[bool], properties: dict[int, Any] | None = None) -> None:
        self.script, self.properties = script, properties or {}
        self.open = True

    def isOpened(self) -> bool:
        return self.open

    def get(self, key: int) -> float:
        value = self.properties.get(key, 0.0)
        return float(next(value) if isinstance(value, Iterator) else value)

    def set(self, key: int, value: float) -> None:
        pass

    def read(self) -> tuple[bool, np.ndarray | None]:
        return (True, FRAME) if self.open and next(self.script, False) else (False, None)

    def release(self) -> None:
        self.open = False


def opens(monkeypatch: pytest.MonkeyPatch, *captures: Fake) -> None:
    following = iter(captures)
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: next(following))
    for name, seconds in (("RETRY_S", 0.001), ("REOPEN_S", 0.01), ("GIVE_UP_S", 0.2)):
        monkeypatch.setattr(capture, name, seconds)


def test_a_missed_frame_is_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The camera is asked again, and opened again, but not for ever."""
    closed = Fake(iter([]))
    closed.release()
    scripts = ([False, True, False, False, True], [True] * 5, [])
    opens(monkeypatch, Fake(iter(scripts[0])), closed, *(Fake(iter(script)) for script in (scripts[1], *[[]] * 40)))
    source = CaptureSource(parse_input("0"))
    assert all(source.read() for _ in range(2 + 5))
    with pytest.raises(SourceLost, match="camera 0 gives no frames"):
        source.read()


def test_a_file_ends_where_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    opens(monkeypatch, Fake(iter([True, False, True])))
    source = CaptureSource(CLIP)
    assert source.read() is not None and source.read() is None


@pytest.mark.parametrize(
    ("rate", "stamps_ms", "times_s"),
    [
        (1000, [40, 140, 1140], [0, 0.1, 1.1]),  # a browser's file, whose header counts milliseconds
        (25, [0, 0, 0], [0, 0.04, 0.08]),  # no stamps
        (10, [900, 1000, 5, 105], [0, 0.1, 0.2, 0.3]),  # they start anew
        (10, [0, 100, 36_000_100, 36_000_200], [0, 0.1, 0.2, 0.3]),  # two recordings put together
        (float("nan"), [0, 50, float("nan")], [0, 0.05, 0.05 + 1 / 30]),
    ],
)
def test_the_time_of_a_frame(
    monkeypatch: pytest.MonkeyPatch, rate: float, stamps_ms: list[float], times_s: list[float]
) -> None:
    stamps = {cv2.CAP_PROP_FPS: rate, cv2.CAP_PROP_POS_MSEC: iter(stamps_ms)}
    opens(monkeypatch, Fake(iter([True] * len(stamps_ms)), stamps))
    source = CaptureSource(CLIP)
    assert [found[0] for found in iter(source.read, None)] == pytest.approx(times_s)  # type: ignore[misc]


def test_a_camera_without_the_mode_says_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    mode = {cv2.CAP_PROP_FRAME_WIDTH: 640, cv2.CAP_PROP_FRAME_HEIGHT: 480, cv2.CAP_PROP_FPS: 30}
    opens(monkeypatch, *(Fake(iter([]), mode) for _ in range(3)))
    assert CaptureSource(parse_input("0"), size=(640, 480), fps=30).fps == 30
    for size, fps in (((800, 480), None), (None, 60)):
        with pytest.raises(UserError, match="instead: give a mode that it has"):
            CaptureSource(parse_input("0"), size, fps)


def test_a_rate_that_raw_pictures_do_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the camera is asked for JPEGs."""
    camera = Fake(iter([]), {cv2.CAP_PROP_FPS: iter([10, 30, 30])})
    asked: list[int] = []
    monkeypatch.setattr(camera, "set", lambda key, _: asked.append(key))
    opens(monkeypatch, camera)
    assert CaptureSource(parse_input("0"), fps=30).live
    assert asked == [cv2.CAP_PROP_FPS, cv2.CAP_PROP_FOURCC, cv2.CAP_PROP_FPS]


@pytest.mark.parametrize(
    "frame",
    [np.full((4, 6), 9, np.uint8), np.full((4, 6), 9 << 8, np.uint16), np.full((4, 6, 4), 9, np.uint8)],
    ids=["gray", "16 bits", "alpha"],
)
def test_frames_of_other_kinds(monkeypatch: pytest.MonkeyPatch, frame: NDArray[Any]) -> None:
    monkeypatch.setattr(f"{__name__}.FRAME", frame)
    opens(monkeypatch, Fake(iter([True])))
    found = CaptureSource(parse_input("v4l2src ! video/x-raw,format=GRAY8 ! appsink")).read()
    assert found is not None and np.array_equal(found[1], np.full((4, 6, 3), 9, np.uint8))


@pytest.mark.parametrize("rate", [211.222, 480.0, 29.97, 7.5, 0.01])
def test_every_rate_is_written_under_every_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: float) -> None:
    monkeypatch.chdir(tmp_path)
    with video_file(Path("file:1.mp4"), rate) as video:
        for number in range(12):
            video.write(np.full((48, 64, 3), 20 * number, np.uint8), number / rate)
    with closing(CaptureSource(parse_input("file:1.mp4"))) as source:
        times = [found[0] for found in iter(source.read, None)]  # type: ignore[misc]
    assert source.fps == pytest.approx(rate, rel=1e-3)
    assert times == pytest.approx([number / rate for number in range(12)], abs=0.001)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    """OpenCV would end the process."""
    path = Path(os.fsdecode(bytes(tmp_path) + b"/\xff.mp4"))
    path.touch()
    with pytest.raises(UserError, match="is no text"):
        CaptureSource(parse_input(str(path)))
    with pytest.raises(UserError, match="is no text"), video_file(path, 30.0):
        pass
