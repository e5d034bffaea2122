"""The README's clip."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from benchmarks.tools import clip
from runtime.errors import UserError

ROOT = Path(__file__).parents[3]


def test_a_clip_is_made(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clip, "SECONDS", 1)
    path = tmp_path / "clip.webp"
    assert clip.main(["--model", str(tiny_model), "-o", str(path), "--threads", "1"]) == 0
    with Image.open(path) as animation:
        assert (animation.n_frames, animation.is_animated) == (clip.SHOWN_FPS, True)  # type: ignore[attr-defined]
        assert animation.size == (1024, 334)
    assert "15 frames" in capsys.readouterr().out


def test_mistakes(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--model", str(tiny_model), "-o", str(tmp_path / "clip.webp")]
    with pytest.raises(UserError, match="does not show two hands"):
        clip.main([*arguments, "--scene", "600000", "2"])
    monkeypatch.setattr(clip, "SECONDS", 1)
    monkeypatch.setattr(clip, "MAX_BYTES", 1000)
    with pytest.raises(UserError, match="at most 1000"):
        clip.main(arguments)
    assert not list(tmp_path.iterdir())


def test_the_committed_one_is_small_and_plays() -> None:
    path = ROOT / "docs/clip.webp"
    assert path.stat().st_size <= clip.MAX_BYTES
    with Image.open(path) as animation:
        assert animation.n_frames == clip.SECONDS * clip.SHOWN_FPS  # type: ignore[attr-defined]
