"""The set on disk: format, exactness of labels, repeatability, and what happens when things go wrong."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from training.data.synthhands import ensure_synthetic, generate, schedule
from training.data.synthhands.__main__ import main
from training.data.synthhands.shards import shard_path
from training.data.synthhands.table import CATEGORIES, V1

ONE = schedule.SHARD_IMAGES


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards, made in this process."""
    return ensure_synthetic("val", 2 * ONE, root=tmp_path_factory.mktemp("synth"), workers=1, progress=False)


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(root, tmp_path / "copy"))


@pytest.fixture
def no_making(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "make_shard", lambda *_: pytest.fail("a finished shard was made again"))


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def pictures(root: Path) -> dict[str, bytes]:
    """Also what stands beside each shard of them."""
    return {name: data for name, data in content(root).items() if name.startswith(("images", "shards"))}


def annotation(root: Path, part: str, split: str = "val") -> Any:
    return json.loads(generate.annotation_path(root, split, part).read_bytes())


def test_files_have_the_official_form(root: Path) -> None:
    """What they say about joints and fits, the reader's tests see."""
    data, cameras = annotation(root, "data"), annotation(root, "camera")
    assert len(data["images"]) == len(data["annotations"]) == 2 * ONE == len(list((root / "images").rglob("*.jpg")))
    for number, (image, label) in enumerate(zip(data["images"], data["annotations"], strict=True)):
        assert image["id"] == label["image_id"] == number
        capture, frame, name = str(image["capture"]), str(image["frame_idx"]), image["camera"]
        assert image["file_name"] == f"Capture{capture}/{image['seq_name']}/cam{name}/image{frame}.jpg"
        picture = np.asarray(cv2.imread(str(root / "images" / "val" / image["file_name"])))
        assert picture.shape == (image["height"], image["width"], 3) and {*picture.shape[:2]} == {334, 512}
        shapes = {key: np.shape(values[name]) for key, values in cameras[capture].items()}
        assert shapes == {"campos": (3,), "camrot": (3, 3), "focal": (2,), "princpt": (2,)}
        assert annotation(root, "joint_3d")[capture][frame]["hand_type"] == label["hand_type"]
        assert image["category"] in CATEGORIES
    about, model = json.loads((root / "dataset.json").read_bytes()), load_hand_models()[0]
    assert about["name"] == "SynthHands v2.2" and about["synthetic"] is True
    assert about["hand_model"] == {"name": model.name, "sha256": model.sha256}


def test_two_workers_and_a_larger_order_make_the_same_bytes(root: Path, tmp_path: Path) -> None:
    ensure_synthetic("val", ONE, root=tmp_path, workers=1, progress=False)
    ensure_synthetic("val", 3 * ONE, root=tmp_path, workers=2, progress=False)
    found = content(tmp_path)
    assert {name: found[name] for name in pictures(root)} == pictures(root)
    assert annotation(tmp_path, "data")["images"][: 2 * ONE] == annotation(root, "data")["images"]


def test_a_complete_set_is_only_read(copy: Path, no_making: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a read-only disk: no lock, no new file, whatever is asked of it."""
    monkeypatch.setattr(generate, "locked", lambda _: pytest.fail("locked"))
    before = content(copy)
    for images in (ONE, 2 * ONE):
        ensure_synthetic("val", images, root=copy, progress=False)
    assert main(["--split", "val", "--images", str(ONE), "--root", str(copy)]) == 0
    assert content(copy) == before


@pytest.mark.parametrize("damage", ["cut short", "other numbers", "image gone", "image cut"])
def test_a_damaged_shard_is_made_again(copy: Path, root: Path, damage: str) -> None:
    path = shard_path(copy, schedule.Shard("val", 1))
    image = copy / "images" / "val" / annotation(copy, "data")["images"][ONE]["file_name"]
    data, pixels = path.read_bytes(), image.read_bytes()
    if damage == "image gone":
        image.unlink()
    else:
        image.write_bytes(pixels[:-10] if damage == "image cut" else pixels)
        broken = {"cut short": data[: len(data) // 2], "other numbers": data.replace(b"0.1", b"0.2", 1)}
        path.write_bytes(broken.get(damage, data))
    ensure_synthetic("val", 2 * ONE, root=copy, workers=1, progress=False)
    assert content(copy) == content(root)


@pytest.mark.parametrize("part", ["camera", "data"])
def test_annotation_files_come_back(copy: Path, root: Path, no_making: None, part: str) -> None:
    """Also where a run was killed after its last shard, before it listed them."""
    older = {key: values[:ONE] for key, values in annotation(copy, "data").items()}
    generate.annotation_path(copy, "val", part).unlink()
    if part == "data":
        generate.annotation_path(copy, "val", part).write_text(json.dumps(older))
    ensure_synthetic("val", 2 * ONE, root=copy, progress=False)
    assert content(copy) == content(root)


def start(folder: Path, shards: int, workers: int) -> subprocess.Popen[str]:
    """The command, in a group of processes of its own."""
    options = ["--split", "val", "--images", str(shards * ONE), "--workers", str(workers), "--root", str(folder)]
    command = [sys.executable, "-m", "training.data.synthhands", *options]
    root = Path(generate.__file__).parents[3]
    return subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.slow
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_ended_is_taken_up_again(root: Path, tmp_path: Path, by: signal.Signals) -> None:
    with start(tmp_path, 40, 2) as run:
        deadline = time.monotonic() + 120
        while not shard_path(tmp_path, schedule.Shard("val", 0)).exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        if by == signal.SIGINT:  # as a terminal does: to the workers too
            os.killpg(run.pid, by)
            _, said = run.communicate(timeout=60)
            assert run.returncode == 130 and "interrupted" in said and "Traceback" not in said
        else:
            run.kill()
    assert not generate.annotation_path(tmp_path, "val", "data").exists()
    time.sleep(1.0)  # its workers end by themselves
    made = content(tmp_path)
    time.sleep(0.5)
    assert content(tmp_path).keys() == made.keys()
    shard_path(tmp_path, schedule.Shard("val", 1)).unlink(missing_ok=True)
    ensure_synthetic("val", 2 * ONE, root=tmp_path, workers=1, progress=False)
    found = content(tmp_path)
    assert {name: found[name] for name in pictures(root)} == pictures(root)
    assert annotation(tmp_path, "data")["images"][: 2 * ONE] == annotation(root, "data")["images"]


@pytest.mark.slow
def test_two_processes_at_once(root: Path, tmp_path: Path) -> None:
    runs = [start(tmp_path, 2, 1) for _ in range(2)]
    assert [run.communicate(timeout=180) and run.returncode for run in runs] == [0, 0]
    assert content(tmp_path) == content(root)


@pytest.mark.parametrize("text", ["{", '{"name": "another"}'])
def test_another_set_is_not_mixed_in(copy: Path, text: str) -> None:
    (copy / "dataset.json").write_text(text)
    with pytest.raises(UserError, match="another data set"):
        ensure_synthetic("val", ONE, root=copy, progress=False)


def test_version_1_of_an_earlier_renderer_is_read_but_not_added_to(tmp_path: Path) -> None:
    make = partial(ensure_synthetic, "val", table=V1, root=tmp_path, workers=1, progress=False)
    make(ONE)
    about = json.loads((tmp_path / "dataset.json").read_bytes())
    assert about["name"] == "SynthHands v1"
    (tmp_path / "dataset.json").write_text(json.dumps({key: about[key] for key in about if key != "renderer"}))
    assert make(ONE) == tmp_path
    with pytest.raises(UserError, match="earlier version"):
        make(2 * ONE)


@pytest.mark.parametrize(("code", "after"), [(errno.EROFS, 0), (errno.ENOSPC, 10)])
def test_a_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, after: int) -> None:
    """The user's to mend; nothing that is half written counts as there."""
    real, count = Path.write_bytes, [0]

    def refuse(self: Path, data: bytes) -> int:
        count[0] += 1
        if count[0] > after:
            real(self, data[: len(data) // 2])
            raise OSError(code, os.strerror(code))
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(UserError, match="cannot write"):
        ensure_synthetic("val", ONE, root=tmp_path / "set", workers=1, progress=False)
    assert not list(tmp_path.rglob("*.part")) and not list(tmp_path.rglob("shards/*/*.json"))


def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ER_EDGE_CACHE", str(tmp_path))
    assert generate.default_root() == tmp_path / "synthhands-v2.2"
    (tmp_path / "file").write_bytes(b"")
    for options, said in (
        ({"root": tmp_path / "file" / "set"}, "Not a directory"),
        ({"root": tmp_path, "workers": 0}, "--workers"),
        ({"photographs": (tmp_path / "a.jpg",)}, "--root"),
    ):
        with pytest.raises(UserError, match=said):
            ensure_synthetic("val", ONE, progress=False, **options)
    monkeypatch.setenv("ER_EDGE_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set ER_EDGE_CACHE"):
        ensure_synthetic("val", ONE, progress=False)
