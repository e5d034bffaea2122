"""Rows out of files of records, the table as CSV and Markdown, and the page as text, which no name breaks out of."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.page.html import make_page, pick_examples
from benchmarks.page.plots import make_plots
from benchmarks.page.rows import Row, artifacts, devices, groups, is_pruned, measured, read_rows
from benchmarks.records.columns import shown_columns, to_csv
from benchmarks.records.raw_samples import artifact_key
from benchmarks.records.record import write_records
from runtime.errors import UserError
from tests.fixtures.made_records import made_report

HOSTILE = "</script><script>alert(1)</script>"


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    return read_rows([made_report(tmp_path)])


def test_what_is_shown(rows: list[Row]) -> None:
    names = ["er-xs_224_int8", "er-xs_224_fp32", "er-s_224_int8"]
    assert [row.title for row in measured(rows)] == [*names, "er-s_224_int8, 4 threads", "a peer"]
    assert [(row.record.name, row.record.runtime.threads) for row in artifacts(rows)] == [(name, 1) for name in names]
    assert groups(rows) == [("made (synthetic)", "mcp-scaled")] and devices(rows) == ["made CPU"]
    pruned = replace(rows[0], record=replace(rows[0].record, name="er-xs-p30_224_int8"))
    assert is_pruned(pruned.record) and not is_pruned(rows[0].record)


def test_samples_belong_to_their_file(tmp_path: Path) -> None:
    path = made_report(tmp_path)
    (row, *_) = read_rows([path])
    errors = row.seen("joint_mm", 3)
    assert errors.shape == (120, 2, 21) and np.isnan(errors[:, :, 9]).all()
    assert row.seen("nothing", 1).size == row.seen("joint_mm", 2).size == 0
    with pytest.raises(UserError, match=r"again\.jsonl: 'er-xs_224_int8' on made CPU is in another file"):
        read_rows([path, made_report(tmp_path, "again")])
    browser = replace(row.record, device=replace(row.record.device, name="a phone"))
    other = replace(browser, artifact=replace(browser.artifact, sha256="1" * 64), device=row.record.device)
    write_records(tmp_path / "phone.jsonl", [browser])
    write_records(tmp_path / "other.jsonl", [other])
    *_, same, another = read_rows([path, tmp_path / "phone.jsonl", tmp_path / "other.jsonl"])
    assert same.record.name == row.record.name and another.record.name == "er-xs_224_int8 (another model, 11111111)"
    path.with_suffix(".npz").unlink()
    assert all(row.seen("joint_mm", 3).size == 0 for row in read_rows([path]))


def test_csv_has_every_digit(rows: list[Row]) -> None:
    rows = measured(rows)
    lines = list(csv.DictReader(io.StringIO(to_csv([row.record for row in rows]))))
    assert [line["name"] for line in lines] == [row.record.name for row in rows]
    latency = rows[0].record.latency_ms
    assert latency is not None
    assert float(lines[0]["p50_ms"]) == latency.p50 and float(lines[0]["size_mb"]) == 3.0
    assert lines[0]["dataset"] == "made (synthetic)" and lines[-1]["mpjpe_mm"] == ""


def test_data_sets_are_kept_apart_and_named(rows: list[Row], tmp_path: Path) -> None:
    records = [row.record for row in measured(rows)]
    found = {column.title: [column.text(record) for record in records] for column in shown_columns(records)}
    assert "mJ" not in found and "device" not in found  # empty; one for all
    assert found["threads"] == ["1", "1", "1", "4", "1"]
    assert (found["MPJPE mm, made (synthetic)"][0], found["MPJPE mm, made (synthetic)"][-1]) == ("21.40", "-")
    real = [row.record for row in measured(read_rows([made_report(tmp_path, "real", "InterHand2.6M")]))]
    assert {"MPJPE mm", "data set"} <= {column.title for column in shown_columns([*records, *real])}


def test_what_it_says_and_that_nothing_is_fetched(rows: list[Row]) -> None:
    plots = make_plots(rows)
    page = make_page(rows, plots)
    text = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    assert all(words in text for words in ("Synthetic figures.", "made (synthetic)", "mm off (synthetic)"))
    assert "1 of 5 rows doubt themselves" in text and "busy: &lt;b&gt;others&lt;/b&gt;" in text
    assert "pip install another" in text and "python benchmarks/run.py" in text
    assert text.count("<img") == 2 * 3 and text.count("<svg") == len(plots)
    assert set(re.findall(r'(?:src|href)="(?!data:)(.)', page)) <= {"#"}  # within the page
    assert not re.search(r"@import|url\((?!#)", page)


def test_figures_in_the_picture_stand_apart_by_data_set(rows: list[Row]) -> None:
    page = make_page(rows, [])
    section = page.partition('<section id="points">')[2].partition("</section>")[0]
    synthetic, photographs = section.split("<h3>")[1:]
    assert synthetic.startswith("made (synthetic)</h3>") and photographs.startswith("made photographs</h3>")
    cells = [re.findall("<td.*?>(.*?)</td>", line) for line in photographs.splitlines() if line.startswith("<tr>")]
    assert cells[0] == ["er-xs_224_int8", "all", "30", "40", "0.610", "0.500", "-", "0.440", "0.800"]
    assert cells[2] == ["er-xs_224_int8", "no hand", "10", "0", "-", "-", "-", "-", "0.600"]
    assert len(cells) == 2 * 3 and " mm" not in section  # one file of each variant, once
    without = [replace(row, record=replace(row.record, points=[])) for row in rows]
    assert "In the picture" not in make_page(without, make_plots(without))


def test_a_real_data_set_is_not_called_synthetic(tmp_path: Path) -> None:
    rows = read_rows([made_report(tmp_path, "real", "InterHand2.6M v1.0 test")])
    assert "ynthetic" not in re.sub(r"<style\b.*?</style>", "", make_page(rows, []), flags=re.DOTALL)


def test_hostile_names(rows: list[Row]) -> None:
    changed = [Row(replace(row.record, name=HOSTILE + row.record.name, command=HOSTILE), row.samples) for row in rows]
    changed = [Row(row.record, {HOSTILE + key: value for key, value in row.samples.items()}) for row in changed]
    page = make_page(changed, make_plots(changed))
    assert HOSTILE not in page and "&lt;script&gt;alert(1)" in page
    assert page.count("<script") == 1  # the page's own


def test_pictures_of_the_file_to_take_and_of_each_other_whole_network(rows: list[Row]) -> None:
    pruned = replace(rows[0].record, name="er-xs-p30_224_int8", artifact=replace(rows[0].record.artifact, bytes=1))
    samples = {key.replace("er-xs_224_int8", pruned.name): value for key, value in rows[0].samples.items()}
    found = pick_examples([Row(pruned, samples), *rows])
    assert [example.row for example in found[::3]] == ["er-s_224_int8", "er-xs_224_int8"]
    damaged = {**rows[0].samples, artifact_key("er-xs_224_int8", "example_best"): np.zeros(9, np.uint8)}
    assert len(pick_examples([Row(row.record, damaged) for row in rows])) == len(found) - 1
