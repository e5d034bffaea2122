"""What an input's text names."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import UserError
from runtime.video.inputs import parse_input, stems_of


@pytest.mark.parametrize(
    ("text", "kind", "target", "stem"),
    [
        ("03", "camera", "3", "camera3"),
        ("/dev/video12", "camera", "12", "video12"),
        ("/dev/v4l/by-path/none-index0", "camera", "/dev/v4l/by-path/none-index0", "none-index0"),
        ("/dev/null", "camera", "/dev/null", "null"),
        ("rtsp://me:secret@host:554/x.mp4", "stream", "rtsp://me:secret@host:554/x.mp4", "stream"),
        ("v4l2src ! videoconvert ! appsink", "pipeline", "v4l2src ! videoconvert ! appsink", "pipeline"),
        ("a/b/CLIP.MOV", "video", str(Path("a/b/CLIP.MOV").absolute()), "CLIP"),
        ("a/clip.mp4", "video", str(Path("a/clip.mp4").absolute()), "clip"),
        ("photo.jpg", "image", "photo.jpg", "photo"),
        ("/a/../x/photo.jpg", "image", "/a/../x/photo.jpg", "photo"),
        ("photo.png", "image", "photo.png", "photo"),
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


DEEP = "/".join(["folder" * 10] * 5)


@pytest.mark.parametrize(
    ("paths", "stems"),
    [
        (["a/x.jpg", "b/y.png"], ["x", "y"]),
        (["a/x.jpg", "b/x.png"], ["x.jpg", "x.png"]),
        (["a/x.jpg", "x.JPG", "/b/../c/x.jpg"], ["a+x.jpg", "x.JPG", "c+x.jpg"]),
        ([f"{DEEP}/1/x.jpg", f"{DEEP}/2/x.jpg"], None),
    ],
)
def test_no_two_pictures_have_one_name(paths: list[str], stems: list[str] | None) -> None:
    found = stems_of([Path(path) for path in paths])
    assert len({*found}) == len(paths) and max(map(len, found)) < 160
    assert stems is None or found == stems


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
