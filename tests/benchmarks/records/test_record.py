"""Records survive the way through a file; a file that is not one is refused in one line."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.records.record import FAILED, Verdict, parse_record, read_records, write_records
from runtime.errors import UserError
from tests.fixtures.made_records import made_points, made_record
from training.typed_tables import BadTable

CONTENT = asdict(made_record())
LINE = json.dumps(CONTENT)


def test_there_and_back(tmp_path: Path) -> None:
    records = [
        replace(made_record(), points=made_points("photographs")),
        made_record("er-s_224_int8", 20.0),
        made_record(threads=4),
    ]
    records.append(replace(made_record("gone"), latency_ms=None, verdict=Verdict(FAILED, ["it fell over"])))
    path = tmp_path / "records.jsonl"
    write_records(path, records)
    assert read_records(path) == records
    older = {"power_w": None, "samples": "records.npz", "device": CONTENT["device"] | {"clocks": {"cpu_mhz": []}}}
    assert parse_record(json.dumps(CONTENT | older)) == parse_record(LINE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema version 1"),
        ({"kind": "pear"}, "kind 'pear'"),
        ({"verdict": {"status": "GREAT", "reasons": []}}, "status 'GREAT'"),
        ({"latency_ms": None}, "missing from a finished record"),
        ({"name": 3}, "name: must be of type str"),
        ({"device": {"cores": 4}}, r"device\.name: is missing"),
        ({"surprise": 1}, "unknown key"),
        ({"command": "a\nb"}, "short line of text"),
        ({"build_s": 10**400}, "must be finite"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(BadTable, match=message):
        parse_record(json.dumps(CONTENT | change))


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    for text, message in (("", "holds no record"), (f"{LINE}\n{LINE}", "line 2: .* there twice"), ("[]", "line 1: ")):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            read_records(path)
    path.write_bytes(b"\xff\xfe\x00")
    for unreadable in (path, tmp_path / "none.jsonl"):
        with pytest.raises(UserError, match="cannot read the records"):
            read_records(unreadable)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(field=st.sampled_from(sorted(CONTENT)), value=JSON)
def test_any_value_in_any_field(field: str, value: object) -> None:
    try:
        assert parse_record(json.dumps(CONTENT | {field: value})).schema_version == 1
    except BadTable as error:
        assert "\n" not in str(error)
