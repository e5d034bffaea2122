"""Figures and sheets of a folder of photographs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.photos import main
from runtime.errors import UserError
from runtime.image.draw import write_picture
from runtime.image.reading import read_image

EXAMPLE = Path(__file__).parents[2] / "docs" / "example.jpg"


def test_a_folder(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos, out = tmp_path / "photos", tmp_path / "new" / "out"
    photos.mkdir()
    shutil.copy(EXAMPLE, photos / "hands.jpg")
    write_picture(photos / "wall.png", np.full((200, 300, 3), 120, np.uint8))
    (photos / "damaged.jpg").write_bytes(EXAMPLE.read_bytes()[:500])
    assert main([str(photos), "--model", str(tiny_model), "--output-dir", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("skipped: ") and "damaged.jpg" in captured.err
    assert "photographs: 2, hands: 2; 1 with no hand, 0 with one hand, 1 with two hands" in captured.out

    figures = json.loads((out / "photos.json").read_text(encoding="utf-8"))
    assert figures["photos_with"] == {"no_hand": 1, "one_hand": 0, "two_hands": 1}
    assert (figures["photos"], figures["hands"], len(figures["skipped"])) == (2, 2, 1)
    assert figures["model_dataset_is_synthetic"] is True and figures["threads"] == 1
    hands, wall = figures["rows"]
    assert (hands["found"], wall["found"]) == (["right", "left"], [])
    assert wall["size_px"] == [300, 200] and wall["ms"]["network"] == 0 and wall["scores"]["left"] == 0
    for row in (hands, wall):
        assert row["ms"]["finder"] > 0 and row["ms"]["finder"] + row["ms"]["network"] <= row["ms"]["whole"]
    for stage, ms in figures["ms"].items():
        assert min(hands["ms"][stage], wall["ms"][stage]) <= ms["p50"] <= ms["p95"]
    (name,) = figures["sheets"]
    assert read_image(out / name).ndim == 3
    assert sorted(path.name for path in out.iterdir()) == [name, "photos.json"]


def test_no_picture_leaves_nothing(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture", encoding="utf-8")
    with pytest.raises(UserError, match=r"notes\.txt"):
        main([str(tmp_path), "--model", str(tiny_model), "--output-dir", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
