"""Figures on the pages, the models' cards, and the fit of presence."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from benchmarks.page.shipped import ROOT, cards, photographs, shipped_rows
from benchmarks.tools import figures, fit_presence, report_picture
from benchmarks.tools.model_cards import current_cards
from tests.fixtures.browser import needs_browser

# Figures that stand on a page as they were typed: where, and why no record holds them.
TYPED = {
    ("RESULTS.md", "| student | method"): "runs of version 1 that are over; their records are not kept",
    ("RESULTS.md", "| without | joints"): "an ablation on a lent GPU, with the day above it",
    ("training.md", "| recipe | crop px"): "estimates, marked as such, and pictures per second on a GPU, with the day",
}
FIGURE = re.compile(r"(?<!at most )(?<!within )(?<![\w.,])\d[\d.,]*\s(?:mm|ms)\b", re.I)
DAY = re.compile(r"\b20\d\d-\d\d-\d\d\b")


def test_every_figure_is_what_the_records_say() -> None:
    for path, text in figures.current_pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is stale: run make figures"
    texts = [path.read_text(encoding="utf-8") for path in figures.PAGES]
    assert sorted(name for text in texts for _, name, *_ in figures.MARKS.findall(text)) == sorted(figures.MADE)


def test_every_shipped_variant_was_measured() -> None:
    found = {(row.variant, row.artifact.precision) for row in shipped_rows()}
    assert found >= {(variant, precision) for variant in cards() for precision in ("fp32", "int8")}, "run make bench"


def typed_figures(page: str) -> list[str]:
    """Paragraphs and tables with figures in mm or ms that neither were made nor say the day they were measured on."""
    text = re.sub(r"```.*?```", "", figures.MARKS.sub("", page), flags=re.S)
    parts = [part.strip() for part in re.split(r"\n\s*\n", text)]
    measured = [part for part in parts if re.match(r"\|.*\b(mm|ms|hours|MB)\b", part)]
    return measured + [part for part in parts if FIGURE.search(" ".join(part.split())) and not DAY.search(part)]


@pytest.mark.parametrize("path", [*figures.PAGES, ROOT / "training" / "RESULTS.md"], ids=lambda path: path.name)
def test_no_figure_is_typed(path: Path) -> None:
    typed = typed_figures(path.read_text(encoding="utf-8"))
    known = tuple(start for name, start in TYPED if name == path.name)
    new = [part for part in typed if not part.startswith(known)]
    assert not new, "make them (benchmarks/tools/figures.py), delete them, or say on which day they were measured"
    assert len(typed) == len(known), "this list knows figures that are gone"


@pytest.mark.parametrize("text", ["er-s: 12.1 ms", "| file | ms |\n| --- | --- |\n| a | 2 |", "it lost\n3 mm"])
def test_a_typed_figure_is_found(text: str) -> None:
    assert typed_figures(f"At most 3 mm.\n\n{text}\n\nOn 2026-11-26 it took 3 ms") == [text]


def test_the_cards_are_read_by_the_hub() -> None:
    for path, text in current_cards().items():
        (model,) = yaml.safe_load(text.split("---\n")[1])["model-index"]
        facts = cards()[model["name"]]
        values = [one["value"] for result in model["results"] for one in result["metrics"]]
        assert path.stem == model["name"] and facts["accuracy"]["mpjpe_mm"] in values
        assert all("synthetic" in result["dataset"]["name"] for result in model["results"] if "mpjpe" in str(result))


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
