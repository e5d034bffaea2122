"""The report's command."""

from __future__ import annotations

import html
from pathlib import Path

import pytest

from benchmarks.records.record import read_records
from benchmarks.report import main
from runtime.errors import UserError
from tests.fixtures.made_records import made_report

MAX_PAGE_BYTES = 3_000_000
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def test_mistakes_and_a_page(tmp_path: Path) -> None:
    records, page = str(made_report(tmp_path)), str(tmp_path / "r.html")
    missing = tmp_path / "missing.jsonl"
    missing.write_text(Path(records).read_text(encoding="utf-8").splitlines()[-1])  # of the peer that is not there
    cases = {
        "create its folder first": [records, "-o", str(tmp_path / "absent" / "r.html")],
        r"end it in \.html": [records, "-o", str(tmp_path / "r.txt")],
        "cannot read the records": [str(tmp_path / "absent.jsonl"), "-o", page],
        "came to an end": [str(missing), "-o", page],
    }
    for message, arguments in cases.items():
        with pytest.raises(UserError, match=message):
            main(arguments)
    assert not Path(page).exists()
    assert main([records, "-o", page]) == 0 and Path(page).is_file()


def test_the_committed_page_is_of_the_committed_records() -> None:
    records = read_records(RESULTS / "records.jsonl")
    page = (RESULTS / "report.html").read_text(encoding="utf-8")
    assert len(page.encode()) < MAX_PAGE_BYTES
    assert all(html.escape(record.name) in page for record in records)
    assert "Synthetic figures." in page
    names = {record.name for record in records}
    assert names >= {"er-nano_160_int8", "er-xs_224_int8", "er-s_224_int8", "er-s_224_fp32"}
    assert names >= {"er-s bare backbone", "MediaPipe 2 x hand landmarks"}
