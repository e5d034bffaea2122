"""The tables of measured figures in README.md and docs/iphone.md."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from benchmarks.tools import readme_table as table
from benchmarks.tools.readme_table import RESULTS, main, packages_table, replace_table, variants_table
from runtime.errors import UserError
from training.network import VARIANTS

SHIPPED = ["er-nano", "er-xs", "er-s"]


def test_the_pages_are_current() -> None:
    assert main(["--check"]) == 0


def test_figures_come_from_the_results() -> None:
    results = json.loads(RESULTS.read_text())
    files = results["exports"]["er-xs_224_int8"]["files"]
    files["er-xs_224_int8"]["accuracy"]["mpjpe_mm"] = 12.344
    made = variants_table(results, SHIPPED)
    row = next(line for line in made.splitlines() if "er-xs_224_int8.onnx" in line)
    assert "| 12.34 |" in row and f"| {files['er-xs_224_int8']['bytes'] / 1e6:.1f} |" in row
    assert "synthetic" in made
    assert all(f"`{name}`" in made for name in VARIANTS)
    rows = [line.split("`")[1] for line in made.splitlines()[2:] if line.startswith("| `")]
    assert rows == sorted(rows, key=SHIPPED.index) and set(rows) == set(SHIPPED)


def test_packages() -> None:
    results = json.loads(RESULTS.read_text())
    entry = results["exports"]["er-xs_224_int8"]
    package = entry["formats"]["coreml"]
    package["package"]["leaves_neural_engine"].append({"rule": "sorting", "source": "", "kinds": {"topk": 2}})
    made = packages_table(results)
    row = next(line for line in made.splitlines() if f"`{package['file']}`" in line)
    assert "| 2 by sorting |" in row and f"| {package['accuracy']['mpjpe_mm']:.2f} |" in row
    without = copy.deepcopy(results)
    del without["exports"]["er-xs_224_int8"]["formats"]["coreml"]
    assert package["file"] not in packages_table(without)


def test_replacing() -> None:
    start = f"<!-- x: {table.MADE_BY} -->"
    assert replace_table(f"a\n{start}\nold\n<!-- end of x -->\nb", "x", "new") == (
        f"a\n{start}\nnew\n<!-- end of x -->\nb"
    )
    with pytest.raises(UserError, match="lost the marks"):
        replace_table("no marks", "x", "new")


def test_a_stale_page_is_made_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("old")
    monkeypatch.setattr(table, "ROOT", tmp_path)
    monkeypatch.setattr(table, "current_pages", lambda: {page: "new"})
    assert main(["--check"]) == 1 and page.read_text() == "old"
    assert main([]) == 0 and page.read_text() == "new"
    assert main(["--check"]) == 0
