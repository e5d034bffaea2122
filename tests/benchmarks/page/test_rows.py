"""Rows out of files of records, and which of them are shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.page.rows import artifacts, devices, groups, is_pruned, measured, read_rows, unpruned
from runtime.errors import UserError
from tests.fixtures.made_records import made_report


def test_what_is_shown(tmp_path: Path) -> None:
    rows = read_rows([made_report(tmp_path)])
    assert [row.title for row in measured(rows)] == [
        *("er-xs_224_int8", "er-xs_224_fp32", "er-s_224_int8", "er-s_224_int8, 4 threads", "a peer"),
    ]
    assert [(row.record.name, row.record.runtime.threads) for row in artifacts(rows)] == [
        *(("er-xs_224_int8", 1), ("er-xs_224_fp32", 1), ("er-s_224_int8", 1)),
    ]
    assert groups(rows) == [("made (synthetic)", "mcp-scaled")]
    assert devices(rows) == ["made CPU"]


def test_samples_belong_to_their_file(tmp_path: Path) -> None:
    (row, *_) = read_rows([made_report(tmp_path)])
    errors = row.seen("joint_mm", 3)
    assert errors.shape == (120, 2, 21) and np.isnan(errors[:, :, 9]).all()
    assert row.seen("nothing", 1).size == row.seen("joint_mm", 2).size == 0


def test_the_same_row_twice(tmp_path: Path) -> None:
    first, second = made_report(tmp_path), made_report(tmp_path, "again")
    with pytest.raises(UserError, match=r"'er-xs_224_int8' on made CPU is in .*records\.jsonl and in .*again\.jsonl"):
        read_rows([first, second])


def test_without_samples(tmp_path: Path) -> None:
    path = made_report(tmp_path)
    path.with_suffix(".npz").unlink()
    assert all(row.seen("joint_mm", 3).size == 0 for row in read_rows([path]))


def test_files_of_whole_networks_are_the_ones_to_take(tmp_path: Path) -> None:
    (first, *others) = artifacts(read_rows([made_report(tmp_path)]))
    pruned = replace(first, record=replace(first.record, name="er-xs-p30_224_int8"))
    assert is_pruned(pruned.record) and not is_pruned(first.record)
    assert unpruned([pruned, *others]) == others
    assert unpruned([pruned]) == [pruned]
