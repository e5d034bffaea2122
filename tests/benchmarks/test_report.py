"""The report's command."""

from __future__ import annotations

import html
import re
import time
from pathlib import Path

import pytest

from benchmarks.records.record import read_records
from benchmarks.report import main
from runtime.errors import UserError
from tests.fixtures.made_records import made_report

MAX_PAGE_BYTES = 3_000_000
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def test_everything_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = ["-o", "r.html", "--csv", "r.csv", "--md", "r.md", "--png", "plots"]
    arguments = [str(tmp_path / word) if "." in word or word == "plots" else word for word in outputs]
    start = time.process_time()
    assert main([str(made_report(tmp_path)), *arguments]) == 0
    assert time.process_time() - start < 20
    assert (tmp_path / "r.html").stat().st_size < MAX_PAGE_BYTES
    assert (
        "er-xs_224_int8" in (tmp_path / "r.csv").read_text() and "| er-xs_224_int8 |" in (tmp_path / "r.md").read_text()
    )
    assert len(list((tmp_path / "plots").glob("*.png"))) == 7
    printed = capsys.readouterr().out
    assert "r.html: " in printed and "MB" in printed
    assert not list(tmp_path.glob(".*"))


def test_mistakes(tmp_path: Path) -> None:
    records = str(made_report(tmp_path))
    (tmp_path / "file").touch()
    cases = {
        "nothing to write": [records],
        "there is no folder": [records, "-o", str(tmp_path / "absent" / "r.html")],
        r"end it in \.html": [records, "-o", str(tmp_path / "r.txt")],
        "cannot be a folder": [records, "--png", str(tmp_path / "file")],
        "cannot read the records": [str(tmp_path / "absent.jsonl"), "-o", str(tmp_path / "r.html")],
        "cannot read the plan": [records, "-o", str(tmp_path / "r.html"), "--plans", str(tmp_path / "absent.json")],
    }
    for message, arguments in cases.items():
        with pytest.raises(UserError, match=message):
            main(arguments)
    assert not (tmp_path / "r.html").exists()


def test_only_rows_that_did_not_run(tmp_path: Path) -> None:
    path = made_report(tmp_path)
    missing = [line for line in path.read_text().splitlines() if '"NOT_RUN"' in line]
    path.write_text("\n".join(missing) + "\n")
    with pytest.raises(UserError, match="came to an end"):
        main([str(path), "-o", str(tmp_path / "r.html")])


def test_the_committed_page_is_of_the_committed_records() -> None:
    records = read_records(RESULTS / "records.jsonl")
    page = (RESULTS / "report.html").read_text(encoding="utf-8")
    assert len(page.encode()) < MAX_PAGE_BYTES
    assert all(html.escape(record.name) in page for record in records)
    assert "Synthetic figures." in page
    artifacts = {record.name for record in records if record.kind == "artifact"}
    for variant, crop in (("er-nano", 160), ("er-xs", 224), ("er-s", 224)):
        pruned = [name for name in artifacts if re.fullmatch(rf"{variant}-p\d+_{crop}_int8", name)]
        assert {f"{variant}_{crop}_fp32", f"{variant}_{crop}_int8", *pruned} <= artifacts and pruned
    peers = {record.name for record in records if record.kind == "peer"}
    assert {"er-s bare backbone", "MediaPipe 2 x hand landmarks", "er-s torch eager"} <= peers
