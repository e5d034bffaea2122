"""Files and cameras through the pipeline, with sources that stand in for them."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from runtime import Hands, UserError, load
from runtime.demo import main
from runtime.processing import process_video
from runtime.runner import Runner
from runtime.video import loop
from runtime.video.capture import CaptureSource, SourceLost
from runtime.video.inputs import parse_input
from runtime.video.loop import Frame, run_video
from runtime.video.outputs import Window, video_file

ROOT = Path(__file__).parents[3]
FRAMES = 24


class Frames:
    """A source of plain frames whose first pixel is the frame's number; `then` happens after the last one."""

    name = "stand-in"
    fps = 30.0
    closed = False

    def __init__(
        self, count: int, *, live: bool = False, every_s: float = 0.0, then: Callable[[], None] = lambda: None
    ) -> None:
        self.live = live
        self._every_s, self._then = every_s, then
        self._numbers = iter(range(count))

    def read(self) -> tuple[float, np.ndarray] | None:
        time.sleep(self._every_s)
        number = next(self._numbers, None)
        if number is None:
            self._then()
            return None
        frame = np.full((48, 64, 3), 100, np.uint8)
        frame[0, 0] = number % 250
        return number * (self._every_s or 1 / self.fps), frame

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def runner(tiny_model: Path) -> Runner:
    return load(tiny_model, threads=1)


@pytest.fixture(scope="module")
def hands(runner: Runner) -> Hands:
    return runner(np.zeros((48, 64, 3), np.uint8), (0, 0, 64, 48))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with video_file(path, 25.0) as video:
        for number in range(FRAMES):
            video.write(np.full((96, 128, 3), 5 * number, np.uint8))
    return path


def slow(hands: Hands, seconds: float) -> Callable[[Frame], Hands]:
    return lambda frame: time.sleep(seconds) or hands  # type: ignore[func-returns-value]


def failing(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object) -> Any:
        raise error

    return fail


def test_no_frame_of_a_file_is_lost(hands: Hands) -> None:
    source, seen = Frames(50), []
    summary = run_video(source, slow(hands, 0.002), lambda found: seen.append(found) is None)
    assert [found.frame.number for found in seen] == list(range(50))
    assert [int(found.frame.rgb[0, 0, 0]) for found in seen] == list(range(50))
    assert [found.frame.time_s for found in seen] == pytest.approx([number / 30 for number in range(50)])
    assert (summary.frames, summary.dropped, summary.ended_by) == (50, 0, None)
    assert list(summary.stages_ms) == ["read", "preprocess", "inference", "postprocess", "show"]
    assert seen[-1].fps > 0 and source.closed


def test_of_a_camera_the_latest_frame_is_taken(hands: Hands) -> None:
    source, seen = Frames(60, live=True, every_s=0.005), []
    summary = run_video(source, slow(hands, 0.04), lambda found: seen.append(found.frame) is None)
    numbers = [frame.number for frame in seen]
    assert numbers == sorted(set(numbers))
    assert len(numbers) < 30
    assert numbers[-1] >= 57
    assert summary.dropped == 60 - len(numbers)
    assert all(later.time_s > sooner.time_s for sooner, later in pairwise(seen))


@pytest.mark.parametrize("live", [False, True])
def test_ctrl_c_ends_it_cleanly(hands: Hands, live: bool) -> None:
    source, before = Frames(10_000, live=live, every_s=0.001), threading.active_count()
    interrupt = failing(KeyboardInterrupt())
    summary = run_video(source, slow(hands, 0), lambda found: found.frame.number <= 3 or interrupt())
    assert isinstance(summary.ended_by, KeyboardInterrupt) and summary.frames <= 4
    assert source.closed and threading.active_count() == before


def test_a_camera_that_hangs(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "HANGS_S", 0.3)
    monkeypatch.setattr(loop, "_JOIN_S", 0.1)
    plugged_in = threading.Event()
    source = Frames(5, live=True, then=lambda: plugged_in.wait(60) and None)
    summary = run_video(source, slow(hands, 0.4), lambda found: True)  # a slow network is no camera that hangs
    assert isinstance(summary.ended_by, SourceLost) and "hangs" in str(summary.ended_by)
    assert summary.frames >= 1 and not source.closed
    plugged_in.set()


@pytest.mark.parametrize("where", ["read", "find", "show"])
def test_errors_of_every_part_come_out(hands: Hands, where: str) -> None:
    fail = failing(UserError(f"broken in {where}"))
    source = Frames(5, then=fail if where == "read" else lambda: None)
    find = fail if where == "find" else slow(hands, 0)
    show = fail if where == "show" else lambda found: True
    with pytest.raises(UserError, match=f"broken in {where}"):
        run_video(source, find, show)
    assert source.closed


def test_a_camera_that_is_gone_leaves_a_whole_video(runner: Runner, hands: Hands, tmp_path: Path) -> None:
    source = Frames(5, live=True, every_s=0.1, then=failing(SourceLost("gone")))
    facts, ended_by = process_video(runner, source, slow(hands, 0), tmp_path / "camera0_overlay.mp4")
    assert isinstance(ended_by, SourceLost) and facts["frames"] == 5
    # It plays at the pace of the clock: 10 frames a second fill a video of 30.
    assert 11 <= len(times_of(tmp_path / "camera0_overlay.mp4")) <= 16


def times_of(path: Path) -> list[float]:
    with closing(CaptureSource(parse_input(str(path)))) as source:
        return [found[0] for found in iter(source.read, None)]  # type: ignore[misc]


def test_a_video_from_end_to_end(
    clip: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(clip), "--model", str(tiny_model), "--threads", "1", "--output-dir", str(tmp_path / "out")]
    assert main([*arguments, "--whole-image", "--smooth"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["frames"], facts["frames_dropped"]) == (FRAMES, 0)
    (path,) = (tmp_path / "out").iterdir()
    assert facts["files"] == [str(path)] and path.name == "clip_overlay.mp4"
    with closing(CaptureSource(parse_input(str(path)))) as source:
        assert source.fps == 25
        (time_s, first), *others = iter(source.read, None)  # type: ignore[misc]
    assert (time_s, len(others)) == (0, FRAMES - 1)
    assert first.shape == (96, 128, 3) and np.ptp(first.astype(int), axis=2).max() > 30  # hands in colour


def test_json_lines(clip: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(clip), "--model", str(tiny_model), "--json", "--no-overlay", "--output-dir", str(tmp_path)]
    assert main([*arguments, "--box", "0", "0", "96", "96"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["frame"] for line in lines] == list(range(FRAMES))
    assert lines[-1]["time_s"] == pytest.approx((FRAMES - 1) / 25, abs=1e-3)
    assert np.shape(lines[0]["hands"]["left"]["joints_mm"]) == (21, 3)
    assert lines[0]["model_dataset_is_synthetic"] is True and "model_dataset" not in lines[1]  # once
    assert not list(tmp_path.iterdir())


def run_demo(arguments: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "runtime/demo.py", *arguments]
    # Under nohup SIGHUP would be ignored here, and rightly by the demo as well.
    heard = lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)  # noqa: E731
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard
    )


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_leaves_a_readable_file(tiny_model: Path, tmp_path: Path, sent: signal.Signals) -> None:
    long = tmp_path / "long.mp4"
    with video_file(long, 30.0) as video:
        for number in range(3000):
            video.write(np.full((96, 128, 3), number % 250, np.uint8))
    folder = tmp_path / "out"
    process = run_demo([str(long), "--model", str(tiny_model), "--json", "--whole-image", "--output-dir", str(folder)])
    assert process.stdout is not None
    for _ in range(10):
        json.loads(process.stdout.readline())
    process.send_signal(sent)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (128 + sent, "interrupted\n")
    (path,) = folder.iterdir()
    assert 9 <= len(times_of(path)) < 3000  # the frame of the last line may not be in it


@pytest.mark.parametrize("options", [["{}", "--no-overlay"], [str(ROOT / "docs" / "example.jpg")]])
def test_nobody_reads_what_is_printed(clip: Path, tiny_model: Path, tmp_path: Path, options: list[str]) -> None:
    arguments = [options[0].format(clip), *options[1:], "--json", "--model", str(tiny_model)]
    with run_demo([*arguments, "--output-dir", str(tmp_path)]) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert (process.stderr.read(), process.wait(timeout=30)) == ("", 0)


def test_names_of_any_language_in_any_locale(
    clip: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("LC_ALL", "C"), ("PYTHONUTF8", "0"), ("PYTHONCOERCECLOCALE", "0")):
        monkeypatch.setenv(name, value)
    path, model = (shutil.copy(file, tmp_path / f"手{file.suffix}") for file in (clip, tiny_model))
    process = run_demo([str(path), "--whole-image", "--model", str(model), "--output-dir", str(tmp_path)])
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    assert len(list(tmp_path.glob("手_overlay.mp4"))) == 1


def test_videos_without_frames(clip: Path, runner: Runner, hands: Hands, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no frames"):
        process_video(runner, Frames(0), slow(hands, 0), tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())
    for content in (clip.read_bytes()[: clip.stat().st_size // 2], b"no video" * 100, b""):
        path = tmp_path / "damaged.mp4"
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"damaged\.mp4"):
            CaptureSource(parse_input(str(path)))


def test_written_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream may change its size; where frames are missing, as on a full disk, no file is left."""
    frames = [np.zeros((48, 64, 3), np.uint8), np.zeros((96, 128, 3), np.uint8)]
    with video_file(tmp_path / "a.mp4", 30.0) as video:
        for frame in frames:
            video.write(frame)
    assert len(times_of(tmp_path / "a.mp4")) == 2

    written = SimpleNamespace(get=lambda key: 1.0, release=lambda: None)
    monkeypatch.setattr(cv2, "VideoCapture", lambda path: written)
    with pytest.raises(UserError, match="frames are missing"), video_file(tmp_path / "b.mp4", 30.0) as video:
        for frame in frames:
            video.write(frame)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_windows_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(cv2, "namedWindow", failing(cv2.error("The function is not implemented")))
    for display, reason in (("", "no screen"), (":0", "without windows")):
        monkeypatch.setenv("DISPLAY", display)
        with pytest.raises(UserError, match=reason):
            Window("title")
