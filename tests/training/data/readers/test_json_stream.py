"""JSON read item by item gives what json gives, wherever the chunks are cut; damage is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.errors import UserError
from training.data.readers import json_stream
from training.data.readers.json_stream import read_json, stream_items

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(params=[5, 60, 1 << 22])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(json_stream, "_CHUNK", request.param)
    return request.param


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    content=st.fixed_dictionaries({"images": st.lists(VALUES), "info": VALUES, "annotations": st.lists(VALUES)}),
    indent=st.none() | st.integers(0, 2),
    ascii_only=st.booleans(),
)
def test_as_json_reads_it(tmp_path: Path, chunk: int, content: dict[str, Any], indent: int, ascii_only: bool) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=ascii_only) + "\n", encoding="utf-8")
    expected = [(key, item) for key, items in content.items() if key != "info" for item in items]
    assert list(stream_items(path, ("images", "annotations"))) == expected
    path.write_text(json.dumps(content["images"], indent=indent), encoding="utf-8")
    assert list(stream_items(path, [""])) == [("", item) for item in content["images"]]


DAMAGED = (
    b"",
    b"[]",
    b"{",
    b'{"a": 1',
    b'{"a": [1, 2',
    b'{"a": [1 2]}',
    b'{"a": [1,]}',
    b'{"a" 1}',
    b'{"a": {}}',
    b"{} {}",
    b"{1: 2}",
    b"{[1]: 2}",
    b"\xff",
)


@pytest.mark.parametrize("content", DAMAGED)
def test_damage_is_one_line(tmp_path: Path, chunk: int, content: bytes) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is not valid JSON") as caught:
        list(stream_items(path, ["a"]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("start", ['{"a": [', '{"b": '])
def test_bottomless_nesting(tmp_path: Path, start: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(start + "[" * 200_000)
    for call in (lambda: read_json(path), lambda: list(stream_items(path, ["a"]))):
        with pytest.raises(UserError, match="is not valid JSON"):
            call()


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.json"
    path.write_text('{"a": ["' + "x" * 5000)
    monkeypatch.setattr(json_stream, "_CHUNK", 100)
    monkeypatch.setattr(json_stream, "_MAX_ITEM", 1000)
    read = []
    grow = json_stream._Text.grow
    monkeypatch.setattr(json_stream._Text, "grow", lambda text: (read.append(1), grow(text)))
    with pytest.raises(UserError, match="not valid JSON"):
        list(stream_items(path, ["a"]))
    assert len(read) < 15
    monkeypatch.setattr(json_stream, "MAX_STREAMED_BYTES", 1000)
    monkeypatch.setattr(json_stream, "MAX_WHOLE_BYTES", 1000)
    for call in (lambda: read_json(path), lambda: list(stream_items(path, ["a"]))):
        with pytest.raises(UserError, match="larger than"):
            call()


def test_nothing_there(tmp_path: Path) -> None:
    for call in (lambda: read_json(tmp_path / "x.json"), lambda: list(stream_items(tmp_path / "x.json", ["a"]))):
        with pytest.raises(UserError, match=r"cannot read .*No such file"):
            call()
