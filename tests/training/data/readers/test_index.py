"""The index of annotation files: opened fast and small at full size, made again when anything changes, never half."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from training.data.frames import Frames
from training.data.readers import index
from training.data.readers.interhand import read_frames

HANDS = load_hand_models()
FULL = 366_358  # interacting train images of the 5 fps release, as most papers count them

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
for array in [frames.file_names.encoded, *(a for a in vars(frames).values() if isinstance(a, np.ndarray))]:
    np.ascontiguousarray(array).view(np.uint8).max()  # as if every label had been used
print(json.dumps({"images": len(frames), "opened_s": opened_s, "grown_mb": peak_mb() - before}))
"""


def write_set(root: Path, n_images: int) -> None:
    """Annotations of `n_images` in the official form: 18 pictures of each moment, 27 captures, some hands unfitted."""
    views, captures = 18, 27
    n_poses = -(-n_images // views)
    folder = root / "annotations" / "train"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    valid = json.dumps([1] * 42)

    def file(part: str) -> Path:
        return folder / f"InterHand2.6M_train_{part}.json"

    with file("data").open("w") as out:
        for key in ("images", "annotations"):
            out.write('{"images": [' if key == "images" else '], "annotations": [')
            for i in range(n_images):
                pose, camera = divmod(i, views)
                capture = pose % captures
                if key == "images":
                    name = (
                        f"Capture{capture}/ROM{pose % 97:02}_Interlocked_Fingers/cam{400000 + camera}/image{pose}.jpg"
                    )
                    item = (
                        f'"id": {i}, "file_name": "{name}", "width": 334, "height": 512, "capture": {capture}, '
                        f'"subject": 1, "seq_name": "ROM", "camera": "{400000 + camera}", "frame_idx": {pose}'
                    )
                else:
                    item = (
                        f'"id": {i}, "image_id": {i}, "bbox": [{i % 97}.5, 20.25, 150.0, 180.0], '
                        f'"joint_valid": {valid}, "hand_type": "interacting", "hand_type_valid": 1'
                    )
                out.write((", {" if i else "{") + item + "}")
        out.write("]}")

    world = np.round(rng.normal(scale=300, size=(n_poses, 42, 3)), 4)
    fits = np.round(rng.normal(scale=0.3, size=(n_poses, 2, 61)), 6)
    joints: dict = {str(c): {} for c in range(captures)}
    mano: dict = {str(c): {} for c in range(captures)}
    for pose in range(n_poses):
        key = str(pose % captures), str(pose)
        joints[key[0]][key[1]] = {"world_coord": world[pose].tolist(), "joint_valid": [[1]] * 42}
        pair = [{"pose": f[:48].tolist(), "shape": f[48:58].tolist(), "trans": f[58:].tolist()} for f in fits[pose]]
        mano[key[0]][key[1]] = {"right": pair[0], "left": None if pose % 50 == 0 else pair[1]}
    names = [str(400000 + camera) for camera in range(views)]
    camera = {
        "campos": {name: [0.0, 0.0, -1000.0] for name in names},
        "camrot": {name: np.eye(3).tolist() for name in names},
        "focal": {name: [1200.0, 1200.0] for name in names},
        "princpt": {name: [167.0, 256.0] for name in names},
    }
    file("joint_3d").write_text(json.dumps(joints))
    file("MANO_NeuralAnnot").write_text(json.dumps(mano))
    file("camera").write_text(json.dumps(dict.fromkeys(joints, camera)))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ER_EDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    write_set(tmp_path / "set", 100)
    return tmp_path / "set"


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Folders that were written, in the order of writing."""
    written: list[Path] = []
    save = index._save
    monkeypatch.setattr(index, "_save", lambda folder, arrays: (written.append(folder), save(folder, arrays)))
    yield written


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from Linux's /proc")
@pytest.mark.parametrize("n_images", [20_000, pytest.param(FULL, marks=pytest.mark.slow)])
def test_the_second_opening_is_fast_and_small(tmp_path: Path, n_images: int) -> None:
    write_set(tmp_path / "set", n_images)
    read_frames(tmp_path / "set", "train", HANDS)
    run = [sys.executable, "-c", OPEN, str(tmp_path / "set")]
    measured = json.loads(subprocess.run(run, check=True, capture_output=True, text=True, env=os.environ).stdout)
    print(measured)
    assert measured["images"] == n_images
    share = n_images / FULL
    assert measured["opened_s"] < max(3 * share, 0.5)
    assert measured["grown_mb"] < max(500 * share, 50)


def same(one: Frames, other: Frames) -> bool:
    return all(
        np.array_equal(np.asarray(getattr(one, key)), np.asarray(getattr(other, key)))
        for key in one.__dict__
        if key not in ("name", "synthetic", "image_root")
    )


def test_mapped_arrays_are_the_built_ones(small: Path, builds: list[Path]) -> None:
    first = read_frames(small, "train", HANDS)
    again = read_frames(small, "train", HANDS)
    assert len(builds) == 1 and same(first, again)
    data = json.loads((small / "annotations/train/InterHand2.6M_train_data.json").read_text())
    assert first.file_names.tolist() == [image["file_name"] for image in data["images"]]
    assert first.bbox.tolist() == [annotation["bbox"] for annotation in data["annotations"]]
    joints = json.loads((small / "annotations/train/InterHand2.6M_train_joint_3d.json").read_text())
    last = data["images"][-1]
    wrist = np.array(joints[str(last["capture"])][str(last["frame_idx"])]["world_coord"][20]) / 1000
    assert np.allclose(first.joints_world_m[first.pose_of[-1], 0, 0], wrist, atol=1e-6)


@pytest.mark.parametrize("part", ["data", "camera", "joint_3d", "MANO_NeuralAnnot"])
def test_a_changed_file_is_indexed_again(small: Path, builds: list[Path], part: str) -> None:
    read_frames(small, "train", HANDS)
    path = small / f"annotations/train/InterHand2.6M_train_{part}.json"
    path.write_text(path.read_text() + " ")
    read_frames(small, "train", HANDS)
    assert len(builds) == 2
    os.utime(path)  # touched, not changed: the content decides
    read_frames(small, "train", HANDS)
    assert len(builds) == 2


def test_hashes_are_remembered(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_frames(small, "train", HANDS)
    monkeypatch.setattr(index, "_sha256", lambda _: pytest.fail("hashed again"))
    read_frames(small, "train", HANDS)


@pytest.mark.parametrize("damage", ["cut", "lost", "notes"])
def test_a_damaged_index_is_made_again(small: Path, cache: Path, builds: list[Path], damage: str) -> None:
    whole = read_frames(small, "train", HANDS)
    arrays = builds[0] / "joints_world_m.npy"
    if damage == "cut":
        content = arrays.read_bytes()
        arrays.unlink()  # `whole` still maps it
        arrays.write_bytes(content[:-1000])
    elif damage == "lost":
        arrays.unlink()
    else:
        (builds[0] / "names.json").write_text("{")
        (cache / "index" / "hashes.json").write_text("[")
    assert same(read_frames(small, "train", HANDS), whole) and len(builds) == 2


def test_a_failed_building_leaves_nothing(small: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(UserError, match="free some space"):
        read_frames(small, "train", HANDS)
    assert [path.name for path in (cache / "index").iterdir()] == ["hashes.json"]


def test_two_at_a_time(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process's index is there when this one is done: it is taken, and nothing is left over."""
    save = index._save

    def twice(folder: Path, arrays: index.Arrays) -> None:
        save(folder, arrays)
        save(folder, arrays)

    monkeypatch.setattr(index, "_save", twice)
    assert len(read_frames(small, "train", HANDS)) == 100
    assert not list(small.parent.glob("cache/index/.*.part"))


def test_pickled_frames_share_the_mapped_files(small: Path) -> None:
    """As loading processes get them: paths travel, not arrays; subsets keep the arrays over poses mapped."""
    frames = read_frames(small, "train", HANDS)
    packed = pickle.dumps(frames)
    assert len(packed) < 5000 and same(pickle.loads(packed), frames)
    few = frames.first(7)
    copied = pickle.loads(pickle.dumps(few))
    assert same(copied, few) and len(pickle.dumps(few)) < 8000
    assert isinstance(copied.joints_world_m.base, np.memmap)


def test_frames_are_read_only(small: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        read_frames(small, "train", HANDS).bbox[0] = 0
