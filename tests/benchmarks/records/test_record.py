"""Records survive the way through a file; a file that is not one is refused in one line."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.records.record import FAILED, BadJson, Verdict, parse_record, read_records, write_records
from runtime.errors import UserError
from tests.fixtures.made_records import made_record


def test_there_and_back(tmp_path: Path) -> None:
    records = [made_record(), made_record("er-s_224_int8", 20.0), made_record(threads=4)]
    records.append(replace(made_record("gone"), latency_ms=None, verdict=Verdict(FAILED, ["it fell over"])))
    path = tmp_path / "records.jsonl"
    write_records(path, records)
    assert read_records(path) == records
    assert len(path.read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema version 1"),
        ({"kind": "pear"}, "kind is 'pear'"),
        ({"verdict": {"status": "GREAT", "reasons": []}}, "verdict.status is 'GREAT'"),
        ({"latency_ms": None}, "missing from a finished record"),
        ({"name": 3}, "'3' is not str at name"),
        ({"artifact": []}, "this is no Artifact at artifact"),
        ({"predictions": {}}, "is not a list at predictions"),
        ({"predictions": [{"target": "x"}]}, r"missing at predictions\[0\]"),
        ({"surprise": 1}, "unknown field 'surprise'"),
        ({"command": "a\nb"}, "short line of text"),
        ({"energy_mj_per_frame": 10**400}, "not finite"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, object], message: str) -> None:
    content = json.loads(json.dumps(asdict(made_record()))) | change
    with pytest.raises(BadJson, match=message):
        parse_record(json.dumps(content))


def test_fields_without_a_default_must_be_there() -> None:
    content = asdict(made_record())
    del content["device"]["cores"]  # what a device reader could not read
    assert parse_record(json.dumps(content)).device.cores is None
    del content["device"]["name"]
    with pytest.raises(BadJson, match=r"a field is missing at device\.name"):
        parse_record(json.dumps(content))


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    line = json.dumps(asdict(made_record()))
    for text, message in (("", "holds no record"), (f"{line}\n{line}", "line 2: .* there twice"), ("{", "line 1: ")):
        path.write_text(text)
        with pytest.raises(UserError, match=message) as caught:
            read_records(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="cannot read the records"):
        read_records(tmp_path / "none.jsonl")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="it is not text"):
        read_records(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(field=st.sampled_from(sorted(asdict(made_record()))), value=JSON)
def test_any_value_in_any_field(field: str, value: object) -> None:
    line = json.dumps(asdict(made_record()) | {field: value})
    try:
        assert parse_record(line).schema_version == 1
    except BadJson as error:
        assert "\n" not in str(error)
