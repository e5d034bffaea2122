"""Rows out of files of records, and which of them are shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.page.rows import absent, artifacts, devices, doubts, groups, measured, read_rows
from runtime.errors import UserError
from tests.fixtures.made_records import made_report


def test_what_is_shown(tmp_path: Path) -> None:
    rows = read_rows([made_report(tmp_path)])
    assert [row.title for row in measured(rows)] == [
        *("er-xs_224_int8", "er-xs_224_fp32", "er-s_224_int8", "er-s_224_int8, 4 threads", "a peer"),
    ]
    assert [(row.record.name, row.record.runtime.threads) for row in artifacts(rows)] == [
        ("er-xs_224_int8", 1),
        ("er-xs_224_fp32", 1),
        ("er-s_224_int8", 1),
    ]
    assert groups(rows) == [("made (synthetic)", "mcp-scaled")]
    assert devices(rows) == ["made CPU"]
    assert doubts(rows) == [("er-s_224_int8, 4 threads", "DOUBTFUL", ["busy: <b>others</b>"])]
    assert absent(rows) == [("another", "pip install another")]


def test_samples_belong_to_their_file(tmp_path: Path) -> None:
    (row, *_) = read_rows([made_report(tmp_path)])
    runs, errors = row.timed("runs_ms"), row.seen("joint_mm")
    assert runs is not None and runs.shape == (400,)
    assert errors is not None and errors.shape == (120, 2, 21) and np.isnan(errors[:, :, 9]).all()
    assert row.seen("nothing") is None


def test_the_same_row_twice(tmp_path: Path) -> None:
    first, second = made_report(tmp_path), made_report(tmp_path, "again")
    with pytest.raises(UserError, match=r"'er-xs_224_int8' on made CPU is in .*records\.jsonl and in .*again\.jsonl"):
        read_rows([first, second])


def test_without_samples(tmp_path: Path) -> None:
    path = made_report(tmp_path)
    path.with_suffix(".npz").unlink()
    assert all(row.timed("runs_ms") is None for row in read_rows([path]))
