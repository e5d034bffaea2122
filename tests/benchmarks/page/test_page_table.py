"""The table for the page, as CSV and as Markdown."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from benchmarks.page.figure_table import shown_columns, to_csv, to_markdown
from benchmarks.page.rows import measured, read_rows
from tests.fixtures.made_records import made_report


def test_csv_has_every_digit(tmp_path: Path) -> None:
    rows = measured(read_rows([made_report(tmp_path)]))
    lines = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert [line["name"] for line in lines] == [row.record.name for row in rows]
    latency = rows[0].record.latency_ms
    assert latency is not None
    assert float(lines[0]["p50_ms"]) == latency.p50 and float(lines[0]["size_mb"]) == 3.0
    assert lines[0]["dataset"] == "made (synthetic)" and lines[-1]["mpjpe_mm"] == ""
    assert lines[0]["at_least_ms_on_a device"] == "2.0"


def test_markdown_keeps_data_sets_apart(tmp_path: Path) -> None:
    rows = measured([*read_rows([made_report(tmp_path)]), *read_rows([made_report(tmp_path, "real", "InterHand2.6M")])])
    text = to_markdown(rows)
    assert "**made (synthetic), protocol mcp-scaled**" in text and "**InterHand2.6M, protocol mcp-scaled**" in text
    assert text.index("**No accuracy**") > 0
    tables = text.split("**")
    assert "a peer" not in tables[2] and "21.40" in tables[2]


def test_columns_that_say_something(tmp_path: Path) -> None:
    rows = measured(read_rows([made_report(tmp_path)]))
    titles = [column.title for column in shown_columns(rows)]
    assert "mJ" not in titles and "device" not in titles  # empty; one for all
    assert {"threads", "verdict", "MPJPE mm, made (synthetic)", "at least ms on a device"} <= set(titles)
    both = [*rows, *measured(read_rows([made_report(tmp_path, "real", "InterHand2.6M")]))]
    assert {"MPJPE mm", "data set"} <= {column.title for column in shown_columns(both)}


def test_cells(tmp_path: Path) -> None:
    rows = measured(read_rows([made_report(tmp_path)]))
    found = {column.key: [column.text(row.record) for row in rows] for column in shown_columns(rows)}
    assert found["size_mb"][0] == "3.00" and found["threads"] == ["1", "1", "1", "4", "1"]
    assert found["mpjpe_mm"][0] == "21.40" and found["mpjpe_mm"][-1] == "-"
