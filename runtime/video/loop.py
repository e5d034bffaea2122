"""Frames in, hands out, as fast as the slowest part: reading, finding and showing run at the same time."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..hand.hands import Hands
from ..image.reading import Rgb
from .capture import Source, SourceLost
from .channel import Channel, Item

_AHEAD = 4  # frames that each part may be ahead of the next one
_JOIN_S = 3.0  # how long a device may take to give its last frame
HANGS_S = 60.0  # so long without a frame, a camera's driver hangs; OpenCV's own limits are 30 s and less


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame as it was read."""

    number: int  # from 0, of those read
    time_s: float  # since the first one: by the file's stamps, or the clock for cameras
    rgb: Rgb
    read_ms: float


@dataclass(frozen=True, eq=False)
class FoundFrame:
    """A frame and its hands."""

    frame: Frame
    hands: Hands
    fps: float  # shown so far; 0 at the first
    show_ms: float  # what showing the last frame took; 0 at the first

    @property
    def stages_ms(self) -> dict[str, float]:
        """What every stage takes; they overlap."""
        return {"read": self.frame.read_ms, **self.hands.stages_ms, "show": self.show_ms}


@dataclass(frozen=True)
class Summary:
    """How a run went."""

    frames: int  # shown
    dropped: int  # read from a camera while the last one was still being looked at
    seconds: float
    ended_by: BaseException | None  # Ctrl-C, or a camera that is gone
    stages_ms: Mapping[str, float]  # mean per frame

    def to_json_dict(self) -> dict[str, Any]:
        """For people and programs."""
        return {
            "frames": self.frames,
            "frames_dropped": self.dropped,
            "fps": round(self.frames / self.seconds, 2) if self.seconds > 0 else None,
            "stages_ms": {stage: round(ms, 3) for stage, ms in self.stages_ms.items()},
        }


def run_video(source: Source, find: Callable[[Frame], Hands], show: Callable[[FoundFrame], bool]) -> Summary:
    """Find the hands of every frame until the source ends, `show` answers False, or Ctrl-C.

    `find` runs in one thread of its own, `show` in the caller's. No frame of a file is left out; of a live source the
    latest is taken. Errors of any part are raised here, after all parts have ended, except that a source is lost: what
    came before is worth keeping. The source is closed.
    """
    patience_s = HANGS_S if source.live else math.inf
    frames: Channel[Frame] = Channel(1 if source.live else _AHEAD, keep_latest=source.live, patience_s=patience_s)
    found: Channel[tuple[Frame, Hands]] = Channel(1 if source.live else _AHEAD)
    looked_at = ((frame, find(frame)) for frame in frames)
    reader = threading.Thread(target=_fill, args=(frames, _frames(source)), daemon=True)
    finder = threading.Thread(target=_fill, args=(found, looked_at), daemon=True)
    shown = _Shown()
    ended_by: BaseException | None = None
    reader.start()
    finder.start()
    try:
        for frame, hands in found:
            if not shown.add(frame, hands, show):
                break
    except TimeoutError:
        ended_by = SourceLost(
            f"{source.name} hangs, without a frame for {HANGS_S:g} s: take it out and plug it in again"
        )
    except (KeyboardInterrupt, SourceLost) as error:
        ended_by = error
    finally:
        frames.abandon()
        found.abandon()
        finder.join()
        reader.join(_JOIN_S)
        if not reader.is_alive():  # a device that hangs is left to the end of the process
            source.close()
    return Summary(shown.count, frames.dropped, shown.seconds, ended_by, shown.mean_ms())


class _Shown:
    """Counts and times what was shown."""

    def __init__(self) -> None:
        self.count = 0
        self._start = time.perf_counter()
        self._show_ms = 0.0
        self._sums_ms: dict[str, float] = {}

    def add(self, frame: Frame, hands: Hands, show: Callable[[FoundFrame], bool]) -> bool:
        start = time.perf_counter()
        shown = FoundFrame(frame, hands, self.count / self.seconds, self._show_ms)
        go_on = show(shown)
        self.count += 1
        self._show_ms = 1000 * (time.perf_counter() - start)
        for stage, ms in (shown.stages_ms | {"show": self._show_ms}).items():
            self._sums_ms[stage] = self._sums_ms.get(stage, 0.0) + ms
        return go_on

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start

    def mean_ms(self) -> dict[str, float]:
        return {stage: total / self.count for stage, total in self._sums_ms.items()}


def _frames(source: Source) -> Iterator[Frame]:
    """Read a source to its end."""
    for number in itertools.count():
        start = time.perf_counter()
        found = source.read()
        if found is None:
            return
        time_s, rgb = found
        yield Frame(number, time_s, rgb, 1000 * (time.perf_counter() - start))


def _fill(channel: Channel[Item], items: Iterable[Item]) -> None:
    """Put the items into a channel, and what goes wrong with them: the caller's thread raises it."""
    try:
        for item in items:
            if not channel.put(item):
                break
    except BaseException as error:
        channel.finish(error)
    else:
        channel.finish()
