"""Annotation files: JSON within bounds, and the index of it: opened fast and small at full size, never half."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from training.data.frames import PER_IMAGE, Frames
from training.data.readers import index
from training.data.readers.index import read_json, stream_items
from training.data.readers.interhand import read_frames

HANDS = load_hand_models()
FULL, MOMENTS = 366_358, 20_354  # interacting train images of the 5 fps release, as most papers count them


@pytest.fixture
def root(synthetic_root: Path, tmp_path: Path) -> Path:
    """The synthetic set's annotations, 48 images, as a copy to change."""
    shutil.copytree(synthetic_root / "annotations", tmp_path / "set" / "annotations")
    return tmp_path / "set"


def folders(cache: Path) -> list[Path]:
    """One per index that was made; nothing else stands there."""
    return sorted((cache / "index").iterdir())


def same(one: Frames, other: Frames) -> bool:
    return all(np.array_equal(value, getattr(other, key)) for key, value in one.__dict__.items())


def test_the_second_opening_is_fast(root: Path, cache: Path) -> None:
    """With an index grown to full size: names as long, poses as many as in the 5 fps release."""
    frames = read_frames(root, "train", HANDS)
    for path in folders(cache)[0].glob("*.npy"):
        array = np.load(path)
        if not array.ndim:
            continue
        per_camera = path.stem.startswith(("camera_position", "camera_rotation", "focal", "principal"))
        rows = FULL if path.stem in PER_IMAGE else len(array) if per_camera else MOMENTS
        path.unlink()  # `frames` still maps it
        np.save(path, np.resize(array, (rows, *array.shape[1:])))
    began = time.perf_counter()
    grown = read_frames(root, "train", HANDS)
    assert time.perf_counter() - began < 3 and len(grown) == FULL and len(frames) == 48


@pytest.mark.parametrize("part", ["data", "camera", "joint_3d", "MANO_NeuralAnnot"])
def test_mapped_until_a_file_changes(root: Path, cache: Path, part: str) -> None:
    first, again = read_frames(root, "train", HANDS), read_frames(root, "train", HANDS)
    assert len(folders(cache)) == 1 and same(first, again) and isinstance(again.bbox, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        again.bbox[0] = 0
    path = root / f"annotations/train/InterHand2.6M_train_{part}.json"
    path.write_text(path.read_text() + " ")
    read_frames(root, "train", HANDS)
    assert len(folders(cache)) == 2


@pytest.mark.parametrize("damage", ["cut", "lost", "names"])
def test_a_damaged_index_is_made_again(root: Path, cache: Path, damage: str) -> None:
    whole = read_frames(root, "train", HANDS)
    (folder,) = folders(cache)
    arrays, names = folder / "joints_world_m.npy", folder / "names.json"
    content = arrays.read_bytes(), names.read_bytes()
    if damage == "names":
        names.write_text("{")
    else:
        arrays.unlink()  # `whole` still maps it
        if damage == "cut":
            arrays.write_bytes(content[0][:-1000])
    assert same(read_frames(root, "train", HANDS), whole)
    assert folders(cache) == [folder] and (arrays.read_bytes(), names.read_bytes()) == content


def test_what_cannot_be_written_is_made_in_memory(
    root: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_frames(root, "train", HANDS)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", refuse)
    assert same(read_frames(root, "train", HANDS), whole)  # a complete index needs no writing
    shutil.rmtree(cache)
    frames = read_frames(root, "train", HANDS)
    assert same(frames, whole) and not frames.bbox.flags.writeable
    assert not list(tmp_path.rglob("*.part"))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(-1e300, 1e300) | st.text(),
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
    "content", [b" ", b'{"a": [1, 2', b'{"a": [1 2]}', b"{} {}", b'{"a": ["\xff"]}', b'{"a": [' + b"[" * 200_000]
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
    monkeypatch.setattr(index, "_MAX_ITEM_BYTES", 1 << 19)
    with pytest.raises(UserError, match="an item of a list is too large"):
        list(stream_items(path, "a"))


def test_large_files_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file.json").write_text("[" * 2000)
    monkeypatch.setattr(index, "MAX_STREAMED_BYTES", 1000)
    monkeypatch.setattr(index, "MAX_WHOLE_BYTES", 1000)
    for name, message in (("file.json", "an annotation file at most"), ("nothing.json", "cannot read")):
        for call in (read_json, lambda path: list(stream_items(path, "a"))):
            with pytest.raises(UserError, match=message):
                call(tmp_path / name)
