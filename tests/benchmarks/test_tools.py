"""The README's tables, the models' cards, and the fit of presence."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from benchmarks.page.shipped import cards, photographs
from benchmarks.tools import fit_presence, report_picture
from benchmarks.tools.model_cards import current_cards
from benchmarks.tools.readme_table import current_pages
from tests.fixtures.browser import needs_browser


def test_the_pages_are_current() -> None:
    for path, text in current_pages().items():
        assert path.read_text() == text, f"{path} is stale: run python -m benchmarks.tools.readme_table"
        assert "MPJPE mm (synthetic)" in text


def test_the_cards_are_current_and_read_by_the_hub() -> None:
    for path, text in current_cards().items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is stale: run make cards"
        (model,) = yaml.safe_load(text.split("---\n")[1])["model-index"]
        facts = cards()[model["name"]]
        values = [one["value"] for result in model["results"] for one in result["metrics"]]
        assert path.stem == model["name"] and facts["accuracy"]["mpjpe_mm"] in values
        assert all("synthetic" in result["dataset"]["name"] for result in model["results"] if "mpjpe" in str(result))


def test_the_readme_says_of_photographs_what_was_measured() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    sentence = text.partition("**On real photographs")[2].partition("of the joints")[0]
    names, shares = re.findall(r"`(er-\w+)`", sentence), [float(share) for share in re.findall(r"\b0\.\d\d", sentence)]
    found = photographs()["variants"]
    assert {name: found[name]["found"]["pck"] for name in found} == dict(zip(names, shares, strict=True))


def test_photographs_are_of_the_shipped_weights() -> None:
    shown = {variant: found["weights_sha256"] for variant, found in photographs()["variants"].items()}
    assert shown == {variant: card["weights_sha256"] for variant, card in cards().items()}


@needs_browser
def test_the_report_is_pictured(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<h1>a page</h1>", encoding="utf-8")
    assert report_picture.main([str(tmp_path / "page.html"), str(tmp_path / "page.png")]) == 0
    with Image.open(tmp_path / "page.png") as picture:
        assert picture.size == (1280, 960) and len(set(picture.convert("L").tobytes())) > 10


def test_presence_is_fitted_and_written(
    tiny_model: Path, synthetic_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "presence.json"
    assert fit_presence.main(["--model", str(tiny_model), "--images", "48", "-o", str(path)]) == 0
    rows = json.loads(path.read_text())["variants"]
    assert list(rows) == ["any", "er-s"] and rows["er-s"] == rows["any"]
    assert len(rows["any"]["boxed"]["weights"]) == 3 and len(rows["any"]["found"]["weights"]) == 4
    assert "(synthetic)" in rows["any"]["data"]
    assert "er-s, found: " in capsys.readouterr().out


def test_the_fit_finds_the_weights_that_made_the_answers() -> None:
    rng, wanted = np.random.default_rng(0), np.array([0.5, -1.0, 2.0])
    rows = np.column_stack([np.ones(20_000), rng.normal(size=(20_000, 2))])
    chance = 1 / (1 + np.exp(-rows @ wanted))
    weights = fit_presence.fit_weights(rows, (rng.random(len(rows)) < chance).astype(float))
    np.testing.assert_allclose(weights, wanted, atol=0.08)
