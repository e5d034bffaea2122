"""The page as text: what it says, and that names from a file cannot break out of it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.page import html
from benchmarks.page.html import make_page, pick_examples, published
from benchmarks.page.plots import make_plots
from benchmarks.page.rows import Row, read_rows
from benchmarks.records.raw_samples import artifact_key
from tests.fixtures.made_records import made_report

HOSTILE = "</script><script>alert(1)</script>"


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    return read_rows([made_report(tmp_path)])


def page_of(rows: list[Row]) -> str:
    return make_page(rows, make_plots(rows))


def without_scripts(page: str) -> str:
    return re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)


def test_what_it_says(rows: list[Row]) -> None:
    page = page_of(rows)
    text = without_scripts(page)
    assert "Synthetic figures." in text and "made (synthetic)" in text
    assert "1 of 5 rows doubt themselves" in text and "busy: &lt;b&gt;others&lt;/b&gt;" in text
    assert "pip install another" in text
    assert "python benchmarks/run.py" in text and "fp32 products 100 Gop/s" in text
    assert text.count("<img") == 3 * 3 and text.count("<svg") == len(make_plots(rows))
    assert "Published" not in text


def test_nothing_is_fetched(rows: list[Row]) -> None:
    page = page_of(rows)
    assert set(re.findall(r'(?:src|href)="(?!data:)(.)', page)) <= {"#"}  # within the page
    assert not re.search(r"@import|url\((?!#)", page)


def test_published_figures_stand_beside_the_same_protocol_alone(tmp_path: Path) -> None:
    rows = read_rows([made_report(tmp_path, "real", "InterHand2.6M v1.0 test")])
    assert [name for name, _ in published(rows)] == ["InterHand2.6M v1.0 test, protocol mcp-scaled"]
    text = without_scripts(page_of(rows))
    assert "IntagHand" in text and "InterWild" not in text and "Synthetic figures" not in text
    assert not list(published(read_rows([made_report(tmp_path, "own", "InterHand2.6M (synthetic)")])))


def test_hostile_names(rows: list[Row]) -> None:
    changed = [Row(replace(row.record, name=HOSTILE + row.record.name, command=HOSTILE), row.samples) for row in rows]
    changed = [Row(row.record, {HOSTILE + key: value for key, value in row.samples.items()}) for row in changed]
    page = page_of(changed)
    assert HOSTILE not in page and "&lt;script&gt;alert(1)" in page
    assert page.count("<script") == 1  # the page's own


def test_pictures_that_are_none(rows: list[Row]) -> None:
    samples = dict(rows[0].samples)
    samples[artifact_key("er-xs_224_int8", "example_best")] = np.frombuffer(b"<svg onload=x>", np.uint8)
    found, _ = pick_examples([Row(row.record, samples) for row in rows])
    assert ("er-xs_224_int8", "best") not in {(example.row, example.which) for example in found}


def test_pictures_of_the_files_to_take_come_first(rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    pruned = replace(rows[0].record, name="er-xs-p30_224_int8", artifact=replace(rows[0].record.artifact, bytes=1))
    samples = {key.replace("er-xs_224_int8", pruned.name): value for key, value in rows[0].samples.items()}
    found = [Row(pruned, samples), *rows]
    whole, left_out = pick_examples(found)
    order = ["er-xs_224_int8", "er-s_224_int8", "er-xs_224_fp32", pruned.name]
    assert [example.row for example in whole[::3]] == order and left_out == []
    monkeypatch.setattr(html, "MAX_PICTURE_BYTES", sum(len(example.data) for example in whole[:6]))
    few, left_out = pick_examples(found)
    assert [example.row for example in few[::3]] == order[:2] and left_out == order[2:]
