"""The README's clip and tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from benchmarks.tools import clip
from benchmarks.tools.readme_table import current_pages

COMMITTED = Path(__file__).parents[2] / "docs/clip.webp"


def test_the_pages_are_current() -> None:
    for path, text in current_pages().items():
        assert path.read_text() == text, f"{path} is stale: run python -m benchmarks.tools.readme_table"
        assert "MPJPE mm (synthetic)" in text


def test_a_clip_is_made_and_the_committed_one_plays(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Image.open(COMMITTED) as animation:
        assert animation.n_frames == clip.SECONDS * clip.SHOWN_FPS  # type: ignore[attr-defined]
    monkeypatch.setattr(clip, "SECONDS", 1)
    assert clip.main(["--model", str(tiny_model), "-o", str(tmp_path / "clip.webp")]) == 0
    with Image.open(tmp_path / "clip.webp") as animation:
        assert (animation.n_frames, animation.size) == (clip.SHOWN_FPS, (1024, 334))  # type: ignore[attr-defined]
