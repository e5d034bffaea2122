"""The README's table of variants."""

from __future__ import annotations

import json

import pytest

from benchmarks.table import CARDS, END, RESULTS, START, main, make_table, replace_table
from runtime.errors import UserError
from training.network import VARIANTS


def test_the_readme_is_current() -> None:
    assert main(["--check"]) == 0


def test_figures_come_from_the_results() -> None:
    results = json.loads(RESULTS.read_text())
    cards = {path.stem: json.loads(path.read_text()) for path in CARDS.glob("*.json")}
    files = results["exports"]["er-xs_224_int8"]["files"]
    files["er-xs_224_int8"]["accuracy"]["mpjpe_mm"] = 12.344
    table = make_table(results, cards)
    row = next(line for line in table.splitlines() if "er-xs_224_int8.onnx" in line)
    assert "| 12.34 |" in row and f"| {files['er-xs_224_int8']['bytes'] / 1e6:.1f} |" in row
    assert "synthetic" in table
    assert all(f"`{name}`" in table for name in VARIANTS)


def test_replacing() -> None:
    assert replace_table(f"a\n{START}\nold\n{END}\nb", f"{START}\nnew\n{END}") == f"a\n{START}\nnew\n{END}\nb"
    with pytest.raises(UserError, match="lost the marks"):
        replace_table("no marks", "x")
