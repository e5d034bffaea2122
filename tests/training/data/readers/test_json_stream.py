"""JSON read item by item gives what json gives, wherever the blocks are cut; damage is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.errors import UserError
from training.data.readers import json_stream
from training.data.readers.index import read_json, stream_items

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    content=st.fixed_dictionaries({"images": st.lists(VALUES), "info": VALUES, "annotations": st.lists(VALUES)}),
    indent=st.none() | st.integers(0, 2),
    ascii_only=st.booleans(),
)
def test_as_json_reads_it(tmp_path: Path, content: dict[str, Any], indent: int, ascii_only: bool) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=ascii_only) + "\n", encoding="utf-8")
    for key in ("images", "annotations"):
        assert list(stream_items(path, key)) == content[key]


@pytest.mark.parametrize(
    "content",
    [
        b" ",
        b'{"a": [1, 2',
        b'{"a": [1 2]}',
        b"{} {}",
        b'{"a": ["\xff"]}',
        b'{"a": [' + b"[" * 200_000,
        b'{"b": ' + b"[" * 200_000,
    ],
)
def test_damage_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    for call in (read_json, lambda path: list(stream_items(path, "a"))):
        with pytest.raises(UserError, match="is not valid JSON") as caught:
            call(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("start", [b'{"a": ["', b'{"a": [{"b": [1', b'{"c": "'])
def test_a_large_item_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(start + b"1" * 9 + b", 1" * 500_000)
    monkeypatch.setattr(json_stream, "_MAX_ITEM_BYTES", 1 << 19)
    with pytest.raises(UserError, match="an item of a list is too large"):
        list(stream_items(path, "a"))


def test_large_files_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file.json").write_text("[" * 2000)
    monkeypatch.setattr(json_stream, "MAX_STREAMED_BYTES", 1000)
    monkeypatch.setattr(json_stream, "MAX_WHOLE_BYTES", 1000)
    for name, message in (("file.json", "an annotation file at most"), ("nothing.json", "cannot read")):
        for call in (read_json, lambda path: list(stream_items(path, "a"))):
            with pytest.raises(UserError, match=message):
                call(tmp_path / name)
