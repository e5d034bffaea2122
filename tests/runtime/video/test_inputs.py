"""What an input's text names."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import UserError
from runtime.video.inputs import parse_input


@pytest.mark.parametrize(
    ("text", "kind", "target", "stem"),
    [
        ("03", "camera", "3", "camera3"),
        ("/dev/video12", "camera", "12", "video12"),
        ("/dev/v4l/by-path/none-index0", "camera", "/dev/v4l/by-path/none-index0", "none-index0"),
        ("/dev/null", "camera", "/dev/null", "null"),
        ("rtsp://me:secret@host:554/x.mp4", "stream", "rtsp://me:secret@host:554/x.mp4", "stream"),
        ("v4l2src ! videoconvert ! appsink", "pipeline", "v4l2src ! videoconvert ! appsink", "pipeline"),
        ("a/b/CLIP.MOV", "video", str(Path("a/b/CLIP.MOV").absolute()), "a+b+CLIP.MOV"),
        ("a/clip.mp4", "video", str(Path("a/clip.mp4").absolute()), "a+clip"),
        ("photo.jpg", "image", "photo.jpg", "photo"),
        ("/a/../x/photo.jpg", "image", "/a/../x/photo.jpg", "x+photo"),
        ("photo.png", "image", "photo.png", "photo.png"),
        ("-1", "image", "-1", "-1"),
        ("a\0b", "image", "a\0b", "a\0b"),
    ],
)
def test_kinds(text: str, kind: str, target: str, stem: str) -> None:
    found = parse_input(text)
    assert (found.kind, found.target, found.stem) == (kind, target, stem)
    assert found.live == (kind not in ("image", "video")) and "secret" not in found.name


@pytest.mark.parametrize(("text", "reason"), [("100000000000000000000", "no camera"), ("http://a/b.mp4", "only rtsp")])
def test_what_names_nothing(text: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        parse_input(text)


def test_no_two_pictures_have_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    deep = "/".join(["folder" * 10] * 5)
    names = ["a/x.jpg", "b/x.jpg", "x.jpg", "../x.jpg", "/b/a/x.jpg", "/a/x/x.jpg", "x.png", "x.JPG"]
    names += [f"{deep}/1/x.jpg", f"{deep}/2/x.jpg"]
    stems = [parse_input(name).stem for name in names]
    assert len({*stems}) == len(names) and max(map(len, stems)) < 160
    assert parse_input(str(tmp_path / "a/x.jpg")).stem == parse_input("a/x.jpg").stem == "a+x"


def test_what_is_there_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, kind in (("left ! right.jpg", "image"), ("12:30.3gp", "video")):
        Path(name).touch()
        assert parse_input(name).kind == kind
    Path("clips.mp4").mkdir()
    folder = parse_input("clips.mp4")
    assert (folder.kind, folder.target, folder.live) == ("folder", "clips.mp4", False)
    Path("front").symlink_to("/dev/null")
    assert parse_input("front").kind == "camera"
