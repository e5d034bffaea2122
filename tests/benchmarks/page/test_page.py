"""Rows out of files of records, and the page as text, which no name breaks out of."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.page.html import make_page
from benchmarks.page.plots import make_plots
from benchmarks.page.rows import artifacts, devices, groups, is_pruned, measured, read_rows
from benchmarks.records.columns import shown_columns
from benchmarks.records.record import Record, write_records
from runtime.errors import UserError
from tests.fixtures.made_records import made_report

HOSTILE = "</script><script>alert(1)</script>"


@pytest.fixture
def rows(tmp_path: Path) -> list[Record]:
    return read_rows([made_report(tmp_path)])


def test_what_is_shown(rows: list[Record]) -> None:
    names = ["er-xs_224_int8", "er-xs_224_fp32", "er-s_224_int8"]
    assert [row.title for row in measured(rows)] == [*names, "er-s_224_int8, 4 threads", "a peer"]
    assert [(row.name, row.runtime.threads) for row in artifacts(rows)] == [(name, 1) for name in names]
    assert groups(rows) == [("made (synthetic)", "mcp-scaled")] and devices(rows) == ["made CPU"]
    assert is_pruned(replace(rows[0], name="er-xs-p30_224_int8")) and not is_pruned(rows[0])


def test_a_row_of_several_files(tmp_path: Path) -> None:
    path = made_report(tmp_path)
    (row, *_) = read_rows([path])
    with pytest.raises(UserError, match=r"again\.jsonl: 'er-xs_224_int8' on made CPU is in another file"):
        read_rows([path, made_report(tmp_path, "again")])
    browser = replace(row, device=replace(row.device, name="a phone"))
    other = replace(browser, artifact=replace(browser.artifact, sha256="1" * 64), device=row.device)
    write_records(tmp_path / "phone.jsonl", [browser])
    write_records(tmp_path / "other.jsonl", [other])
    *_, same, another = read_rows([path, tmp_path / "phone.jsonl", tmp_path / "other.jsonl"])
    assert same.name == row.name and another.name == "er-xs_224_int8 (another model, 11111111)"


def test_data_sets_are_kept_apart_and_named(rows: list[Record], tmp_path: Path) -> None:
    records = measured(rows)
    found = {column.title: [column.text(record) for record in records] for column in shown_columns(records)}
    assert "load ms" not in found and "device" not in found  # empty; one for all
    assert found["threads"] == ["1", "1", "1", "4", "1"]
    assert (found["MPJPE mm, made (synthetic)"][0], found["MPJPE mm, made (synthetic)"][-1]) == ("21.40", "-")
    real = measured(read_rows([made_report(tmp_path, "real", "InterHand2.6M")]))
    assert {"MPJPE mm", "data set"} <= {column.title for column in shown_columns([*records, *real])}


def test_what_it_says_and_that_nothing_is_fetched(rows: list[Record]) -> None:
    plots = make_plots(rows)
    page = make_page(rows, plots)
    text = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    assert all(words in text for words in ("Synthetic figures.", "made (synthetic)", "mm off (synthetic)"))
    assert "1 of 5 rows doubt themselves" in text and "busy: &lt;b&gt;others&lt;/b&gt;" in text
    assert "pip install another" in text and "python benchmarks/run.py" in text
    assert text.count("<svg") == len(plots)
    assert set(re.findall(r'(?:src|href)="(?!data:)(.)', page)) <= {"#"}  # within the page
    assert not re.search(r"@import|url\((?!#)", page)


def test_figures_in_the_picture_stand_apart_by_data_set(rows: list[Record]) -> None:
    page = make_page(rows, [])
    section = page.partition('<section id="points">')[2].partition("</section>")[0]
    synthetic, photographs = section.split("<h3>")[1:]
    assert synthetic.startswith("made (synthetic)</h3>") and photographs.startswith("made photographs</h3>")
    cells = [re.findall("<td.*?>(.*?)</td>", line) for line in photographs.splitlines() if line.startswith("<tr>")]
    assert cells[0] == ["er-xs_224_int8", "all", "30", "40", "0.610", "0.500", "-", "0.440", "0.800"]
    assert cells[2] == ["er-xs_224_int8", "no hand", "10", "0", "-", "-", "-", "-", "0.600"]
    assert len(cells) == 2 * 3 and " mm" not in section  # one file of each variant, once
    without = [replace(row, points=[]) for row in rows]
    assert "In the picture" not in make_page(without, make_plots(without))


def test_a_real_data_set_is_not_called_synthetic(tmp_path: Path) -> None:
    rows = read_rows([made_report(tmp_path, "real", "InterHand2.6M v1.0 test")])
    assert "ynthetic" not in re.sub(r"<style\b.*?</style>", "", make_page(rows, []), flags=re.DOTALL)


def test_hostile_names(rows: list[Record]) -> None:
    changed = [replace(row, name=HOSTILE + row.name, command=HOSTILE) for row in rows]
    page = make_page(changed, make_plots(changed))
    assert HOSTILE not in page and "&lt;script&gt;alert(1)" in page
    assert page.count("<script") == 1  # the page's own
