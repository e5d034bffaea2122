"""The index of annotation files: opened fast and small at full size, made again when anything changes, never half."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime.hand.hand_model import load_hand_models
from training.data.frames import PER_IMAGE, Frames
from training.data.readers import index
from training.data.readers.interhand import read_frames

HANDS = load_hand_models()
FULL, MOMENTS = 366_358, 20_354  # interacting train images of the 5 fps release, as most papers count them

OPEN = """
import json, sys, time
from pathlib import Path
import numpy as np
from runtime.hand.hand_model import load_hand_models
from training.data.readers.interhand import read_frames
hands = load_hand_models()
peak_mb = lambda: int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
before, began = peak_mb(), time.perf_counter()
frames = read_frames(Path(sys.argv[1]), "train", hands)
opened_s = time.perf_counter() - began
for array in (value for value in vars(frames).values() if isinstance(value, np.ndarray)):
    np.ascontiguousarray(array).view(np.uint8).max()  # as if every label had been used
print(json.dumps({"images": len(frames), "opened_s": opened_s, "grown_mb": peak_mb() - before}))
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ER_EDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


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


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from Linux's /proc")
def test_the_second_opening_is_fast_and_small(root: Path, cache: Path) -> None:
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
    run = [sys.executable, "-c", OPEN, str(root)]
    measured = json.loads(subprocess.run(run, check=True, capture_output=True, text=True, env=os.environ).stdout)
    assert measured["images"] == FULL and len(frames) == 48
    assert measured["opened_s"] < 3 and measured["grown_mb"] < 500


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


@pytest.mark.parametrize("refusing", ["disk is full", "no folder"])
def test_what_cannot_be_written_is_made_in_memory(
    root: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusing: str
) -> None:
    whole = read_frames(root, "train", HANDS)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", refuse)
    assert same(read_frames(root, "train", HANDS), whole)  # a complete index needs no writing
    if refusing == "no folder":
        monkeypatch.setenv("ER_EDGE_CACHE", str(next(root.rglob("*.json")) / "cache"))
    else:
        shutil.rmtree(cache)
    frames = read_frames(root, "train", HANDS)
    assert same(frames, whole) and not frames.bbox.flags.writeable
    assert not list(tmp_path.rglob("*.part"))


def test_two_at_a_time(tmp_path: Path, cache: Path) -> None:
    """The other process's index is there when this one is done."""
    (source := tmp_path / "source").write_text("")
    arrays = {"a": np.arange(3)}

    def build() -> index.Arrays:
        index.open_index([source], "", lambda: arrays, "made")
        return arrays

    for _ in range(2):
        assert index.open_index([source], "", build, "made")["a"].tolist() == [0, 1, 2]
    assert len(folders(cache)) == 1
