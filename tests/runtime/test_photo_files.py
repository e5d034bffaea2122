"""Folders of photographs, whatever lies in them."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.errors import UserError
from runtime.photo_files import list_photos, print_skipped, read_photos


def write_photo(path: Path, value: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", np.full((32, 48, 3), value, np.uint8))[1].tobytes())
    return path


def test_what_a_folder_gives(tmp_path: Path) -> None:
    names = ["b.png", "A.JPG", "notes.txt"]
    for name in (*names, ".hidden.png", "contact_sheet_001.jpg", "deeper/c.png"):
        write_photo(tmp_path / name)
    other = write_photo(tmp_path / "deeper" / "d.png")
    expected = sorted(tmp_path / name for name in names)
    assert list_photos([tmp_path]) == expected
    assert list_photos([other, tmp_path, expected[0], other]) == [other, *expected]  # each once
    with pytest.raises(UserError, match="no image in"):
        (tmp_path / "empty").mkdir()
        list_photos([tmp_path / "empty"])


def test_unreadable_files_are_named_and_the_rest_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = [write_photo(tmp_path / name, value) for name, value in (("a.png", 1), ("z", 2))]
    (tmp_path / "damaged.png").write_bytes(good[0].read_bytes()[:40])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no picture", encoding="utf-8")
    (tmp_path / "clip.mov").write_text("frames", encoding="utf-8")
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.jpg")
    skipped: list[str] = []
    read = [(path, int(rgb[0, 0, 0])) for path, rgb in read_photos(list_photos([tmp_path]), skipped)]
    assert read == [(good[0], 1), (good[1], 2)]
    names = ("clip.mov", "damaged.png", "empty.jpg", "gone.jpg", "pipe.jpg", "text.jpg")
    assert len(skipped) == len(names)
    assert all(name in reason and "\n" not in reason for name, reason in zip(names, skipped, strict=True))
    print_skipped(skipped * 10)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"skipped: {skipped[0]}" and lines[-1] == "skipped: 40 more files" and len(lines) == 21


def test_nothing_to_read(tmp_path: Path) -> None:
    paths = [tmp_path / "one.jpg", tmp_path / "two.jpg"]
    with pytest.raises(UserError, match=r"one.jpg.*nor can 1 more"):
        list(read_photos(paths, []))
