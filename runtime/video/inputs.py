"""What a command line's input names: a picture, a folder of them, a video file, a camera, a stream, or a pipeline."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import UserError

_CAMERA_FILES, _WEB_FILES = (".mp4", ".m4v", ".mov", ".3gp", ".mts", ".m2ts"), (".webm", ".mkv", ".flv", ".ogv")
VIDEO_SUFFIXES = (*_CAMERA_FILES, *_WEB_FILES, ".avi", ".mpg", ".mpeg", ".ts", ".wmv")
_MAX_CAMERA = 99
_MAX_STEM_BYTES = 150


@dataclass(frozen=True)
class Input:
    """One input."""

    kind: Literal["image", "folder", "video", "camera", "stream", "pipeline"]
    target: str  # for OpenCV; a camera may be a number
    name: str  # that may be shown
    stem: str  # of the files made from it

    @property
    def live(self) -> bool:
        """Whether its frames come when they come: what is not taken in time is lost."""
        return self.kind not in ("image", "folder", "video")


def parse_input(text: str) -> Input:
    """Tell what the text names: what is there by that name comes first. A UserError where nothing can be."""
    if text.isdecimal():
        if int(text) > _MAX_CAMERA:
            raise UserError(f"there is no camera {text[:20]}: give 0 for the first one")
        return Input("camera", str(int(text)), f"camera {int(text)}", f"camera{int(text)}")
    mode, path = _mode(text), Path(text)
    if stat.S_ISCHR(mode) or (not mode and text.startswith("/dev/")):
        number = re.fullmatch(r"/dev/video(\d+)", str(path.resolve()))
        return Input("camera", number[1] if number else text, f"camera {text}", path.name)
    if not mode and " ! " in text:
        return Input("pipeline", text, f"pipeline {text[:60]}", "pipeline")
    if not mode and "://" in text:
        shown = re.sub(r"//[^/@]*@", "//", text)  # without user and password
        if not text.lower().startswith(("rtsp://", "rtsps://")):
            raise UserError(f"cannot read {shown}: of addresses only rtsp:// and rtsps:// are")
        return Input("stream", text, shown, "stream")
    if stat.S_ISDIR(mode):
        return Input("folder", text, f"folder {text}", path.name)
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        return Input("image", text, text, path.stem)
    # FFmpeg takes what stands before a colon for a protocol, but not in an absolute path.
    return Input("video", str(path.absolute()), f"video {path}", path.stem)


def stems_of(paths: Sequence[Path]) -> list[str]:
    """Of the files made from each picture: its name, with suffix or folders where names alone are not enough."""
    for names in ([path.stem for path in paths], [path.name for path in paths]):
        if len({name.casefold() for name in names}) == len(paths):
            return names
    return [_whole_path(path) for path in paths]


def _whole_path(path: Path) -> str:
    """`a+hand.jpg` of a/hand.jpg, from the current folder on where it lies in there."""
    path = Path(os.path.normpath(path.absolute()))
    start = Path.cwd() if path.is_relative_to(Path.cwd()) else path.anchor
    name = "+".join(path.relative_to(start).parts)
    if len(os.fsencode(name)) <= _MAX_STEM_BYTES:
        return name
    return f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}+{path.name}"


def _mode(text: str) -> int:
    """The file's kind, 0 where there is none."""
    try:
        return Path(text).stat().st_mode
    except (OSError, ValueError):  # no such file, or no path at all
        return 0
