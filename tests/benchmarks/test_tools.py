"""The README's tables, and the fit of presence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tools import fit_presence
from benchmarks.tools.readme_table import current_pages


def test_the_pages_are_current() -> None:
    for path, text in current_pages().items():
        assert path.read_text() == text, f"{path} is stale: run python -m benchmarks.tools.readme_table"
        assert "MPJPE mm (synthetic)" in text


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
