"""Frames in, hands out, as fast as the slowest part: reading, finding and showing run at the same time."""

from __future__ import annotations

import contextlib
import itertools
import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..hand.hands import Hands
from ..image.reading import Rgb
from .capture import CaptureSource, SourceLost

_AHEAD = 4  # frames that each part may be ahead of the next one
_JOIN_S = 3.0  # how long a device may take to give its last frame
_TICK_S = 0.1  # Windows lets no Ctrl-C through to what waits without end
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
    stages_ms: Mapping[str, float]  # what every stage takes; they overlap. `show`: of the last frame; 0 at the first


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


def run_video(source: CaptureSource, find: Callable[[Frame], Hands], show: Callable[[FoundFrame], bool]) -> Summary:
    """Find the hands of every frame until the source ends, `show` answers False, or Ctrl-C.

    `find` runs in one thread of its own, `show` in the caller's. No frame of a file is left out; of a live source the
    latest is taken. Errors of any part are raised here, after all parts have ended, except that a source is lost: what
    came before is worth keeping. The source is closed.
    """
    ahead, stop = 1 if source.live else _AHEAD, threading.Event()
    frames = _Way(ahead, stop, source.live, HANGS_S if source.live else math.inf)
    found = _Way(ahead, stop, latest=False)
    looked_at = ((frame, find(frame)) for frame in frames)
    reader = threading.Thread(target=frames.fill, args=(_frames(source),), daemon=True)
    finder = threading.Thread(target=found.fill, args=(looked_at,), daemon=True)
    count, show_ms, sums_ms = 0, 0.0, dict[str, float]()
    ended_by: BaseException | None = None
    begin = time.perf_counter()
    reader.start()
    finder.start()
    try:
        for frame, hands in found:
            start = time.perf_counter()
            stages_ms = {"read": frame.read_ms, **hands.stages_ms, "show": show_ms}
            go_on = show(FoundFrame(frame, hands, count / (start - begin), stages_ms))
            count, show_ms = count + 1, 1000 * (time.perf_counter() - start)
            for stage, ms in {**stages_ms, "show": show_ms}.items():
                sums_ms[stage] = sums_ms.get(stage, 0.0) + ms
            if not go_on:
                break
    except TimeoutError:
        ended_by = SourceLost(f"{source.name} hangs, no frame for {HANGS_S:g} s: take it out and plug it in again")
    except (KeyboardInterrupt, SourceLost) as error:
        ended_by = error
    finally:
        stop.set()
        finder.join()
        reader.join(_JOIN_S)
        if not reader.is_alive():  # a device that hangs is left to the end of the process
            source.close()
    means_ms = {stage: total / count for stage, total in sums_ms.items()}
    return Summary(count, frames.dropped, time.perf_counter() - begin, ended_by, means_ms)


class _Way:
    """A bounded way from one thread to another, until `stop`.

    Full, it makes the giver wait, or drops what is in it (`latest`). The taker gets a TimeoutError where nothing comes
    for `patience_s`, and what goes wrong with the giver.
    """

    def __init__(
        self, capacity: int, stop: threading.Event, latest: bool = False, patience_s: float = math.inf
    ) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(capacity)
        self._stop, self._latest, self._patience_s = stop, latest, patience_s
        self.dropped = 0

    def fill(self, items: Iterable[Any]) -> None:
        """Put all items in, then how they ended."""
        end: BaseException = StopIteration()
        try:
            for item in items:
                self._put(item, drop=self._latest)
                if self._stop.is_set():
                    break
        except BaseException as error:
            end = error
        self._put(end, drop=False)

    def _put(self, item: Any, drop: bool) -> None:
        while not self._stop.is_set():
            try:
                return self._queue.put(item, timeout=0 if drop else _TICK_S)
            except queue.Full:
                if drop:
                    with contextlib.suppress(queue.Empty):  # taken this moment
                        self._queue.get_nowait()
                        self.dropped += 1

    def __iter__(self) -> Iterator[Any]:
        waits_s = time.monotonic()
        while not self._stop.is_set():
            try:
                item = self._queue.get(timeout=_TICK_S)
            except queue.Empty:
                if time.monotonic() > waits_s + self._patience_s:
                    raise TimeoutError from None
                continue
            if isinstance(item, StopIteration):
                return
            if isinstance(item, BaseException):
                raise item
            yield item
            waits_s = time.monotonic()


def _frames(source: CaptureSource) -> Iterator[Frame]:
    """Read a source to its end."""
    for number in itertools.count():
        start = time.perf_counter()
        found = source.read()
        if found is None:
            return
        time_s, rgb = found
        yield Frame(number, time_s, rgb, 1000 * (time.perf_counter() - start))
