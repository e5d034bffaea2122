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
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from runtime.hand.joints import INTERHAND_TO_JOINTS
from training.data.readers.interhand import read_frames
from training.data.synthhands import ensure_synthetic, files, shards
from training.data.synthhands import generate as write
from training.data.synthhands import schedule
from training.data.synthhands.__main__ import main
from training.data.synthhands.scene.scene import SIDES, pose_hand

ONE = schedule.SHARD_IMAGES


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards, made in this process."""
    return ensure_synthetic("val", 2 * ONE, root=tmp_path_factory.mktemp("synth"), workers=1, progress=False)


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    target = tmp_path / "copy"
    for path in root.rglob("*"):
        if path.is_file():
            (target / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(root)).write_bytes(path.read_bytes())
    return target


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def annotation(root: Path, part: str, split: str = "val") -> Any:
    return json.loads(write.annotation_path(root, split, part).read_bytes())


def no_making(*_: Any) -> int:
    raise AssertionError("a finished shard was made again")


def test_files_have_the_official_form(root: Path) -> None:
    data, cameras = annotation(root, "data"), annotation(root, "camera")
    joints, mano = annotation(root, "joint_3d"), annotation(root, "MANO_NeuralAnnot")
    assert len(data["images"]) == len(data["annotations"]) == 2 * ONE
    assert len(list((root / "images").rglob("*.jpg"))) == 2 * ONE
    for number, (image, label) in enumerate(zip(data["images"], data["annotations"], strict=True)):
        assert image["id"] == label["image_id"] == number
        capture, frame, camera = str(image["capture"]), str(image["frame_idx"]), image["camera"]
        assert image["file_name"] == f"Capture{capture}/{image['seq_name']}/cam{camera}/image{frame}.jpg"
        picture = np.asarray(cv2.imread(str(root / "images" / "val" / image["file_name"])))
        assert picture.shape == (image["height"], image["width"], 3)
        assert {image["height"], image["width"]} == {334, 512}
        for key, shape in (("campos", (3,)), ("camrot", (3, 3)), ("focal", (2,)), ("princpt", (2,))):
            assert np.shape(cameras[capture][key][camera]) == shape
        pose = joints[capture][frame]
        assert np.shape(pose["world_coord"]) == (42, 3)
        assert np.array(pose["joint_valid"], int).tolist() == label["joint_valid"]
        assert np.shape(label["joint_valid"]) == (42, 1)
        valid = np.array(pose["joint_valid"]).reshape(2, 21)
        for side, name in enumerate(SIDES):
            there = label["hand_type"] in (name, schedule.INTERACTING)
            assert valid[side].all() == valid[side].any() == there
            assert (mano[capture][frame][name] is not None) == there
        assert pose["hand_type"] == label["hand_type"]
    about = json.loads((root / "dataset.json").read_bytes())
    model = load_hand_models()[0]
    assert about["name"] == f"SynthHands v{schedule.GENERATOR_VERSION}" and about["synthetic"] is True
    assert about["hand_model"] == {"name": model.name, "sha256": model.sha256}


def test_mano_parameters_give_the_joints_and_the_boxes(root: Path) -> None:
    data, cameras = annotation(root, "data"), annotation(root, "camera")
    joints, mano = annotation(root, "joint_3d"), annotation(root, "MANO_NeuralAnnot")
    models = load_hand_models()
    for image, label in zip(data["images"], data["annotations"], strict=True):
        capture, frame, name = str(image["capture"]), str(image["frame_idx"]), image["camera"]
        world = np.array(joints[capture][frame]["world_coord"]).reshape(2, 21, 3)
        camera = {key: np.array(cameras[capture][key][name]) for key in cameras[capture]}
        for side, side_name in enumerate(SIDES):
            fit = mano[capture][frame][side_name]
            if fit is None:
                continue
            assert len(fit["pose"]) == 48 and len(fit["shape"]) == 10 and len(fit["trans"]) == 3
            _, found = pose_hand(models[side], *(np.array(fit[key]) for key in ("pose", "shape", "trans")))
            np.testing.assert_allclose(1000 * found, world[side][INTERHAND_TO_JOINTS], atol=1e-3)
            seen = (world[side] - camera["campos"]) @ camera["camrot"].T
            pixels = seen[:, :2] / seen[:, 2:] * camera["focal"] + camera["princpt"]
            x, y, width, height = label["bbox"]
            assert (seen[:, 2] > 1000).all()
            assert (pixels > [x, y]).all() and (pixels < [x + width, y + height]).all()


def test_the_projects_reader_reads_it(root: Path) -> None:
    found = read_frames(root, "val", load_hand_models())
    assert len(found) == 2 * ONE and found.synthetic
    wrist_relative = found.joints_world_m - found.joints_world_m[:, :, :1]
    error = np.abs(wrist_relative - found.mano_joints_m)[found.has_mano]
    assert 1000 * error.max() < 1e-3


def test_two_workers_and_a_larger_order_make_the_same_bytes(root: Path, tmp_path: Path) -> None:
    ensure_synthetic("val", ONE, root=tmp_path, workers=1, progress=False)
    ensure_synthetic("val", 3 * ONE, root=tmp_path, workers=2, progress=False)
    found, expected = content(tmp_path), content(root)
    for name, data in expected.items():
        if name.startswith(("images", "shards")):
            assert found[name] == data
    assert annotation(tmp_path, "data")["images"][: 2 * ONE] == annotation(root, "data")["images"]


def test_splits_differ(root: Path, copy: Path) -> None:
    ensure_synthetic("test", 1, root=copy, workers=1, progress=False)
    assert (
        write.annotation_path(copy, "val", "data").read_bytes()
        == write.annotation_path(root, "val", "data").read_bytes()
    )
    poses = [
        {
            json.dumps(fit["pose"])
            for frames in annotation(copy, "MANO_NeuralAnnot", split).values()
            for entry in frames.values()
            for fit in entry.values()
            if fit
        }
        for split in ("val", "test")
    ]
    shapes = [
        {
            json.dumps(fit["shape"])
            for frames in annotation(copy, "MANO_NeuralAnnot", split).values()
            for entry in frames.values()
            for fit in entry.values()
            if fit
        }
        for split in ("val", "test")
    ]
    assert not poses[0] & poses[1] and not shapes[0] & shapes[1]


def test_finished_shards_are_left_alone(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(copy)
    monkeypatch.setattr(write, "make_shard", no_making)
    ensure_synthetic("val", ONE, root=copy, workers=1, progress=False)
    assert content(copy) == before


@pytest.mark.parametrize("damage", ["cut short", "garbage", "other numbers", "missing", "image gone", "image cut"])
def test_a_damaged_shard_is_made_again(copy: Path, root: Path, damage: str) -> None:
    path = shards.shard_path(copy, schedule.Shard("val", 1))
    image = copy / "images" / "val" / annotation(copy, "data")["images"][ONE]["file_name"]
    data = path.read_bytes()
    if damage == "cut short":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "garbage":
        path.write_bytes(b"\x00\xff")
    elif damage == "other numbers":
        path.write_bytes(data.replace(b"0.1", b"0.2", 1))
    elif damage == "missing":
        path.unlink()
    elif damage == "image gone":
        image.unlink()
    else:
        image.write_bytes(image.read_bytes()[:-10])
    ensure_synthetic("val", 2 * ONE, root=copy, workers=1, progress=False)
    assert content(copy) == content(root)


def test_missing_annotation_files_come_back(copy: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "make_shard", no_making)
    write.annotation_path(copy, "val", "camera").unlink()
    ensure_synthetic("val", 2 * ONE, root=copy, workers=1, progress=False)
    assert content(copy) == content(root)


@pytest.mark.slow
def test_a_killed_run_is_taken_up_again(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.data.synthhands", "--split", "val", "--images", str(40 * ONE)]
    command += ["--workers", "2", "--root", str(tmp_path)]
    project = Path(write.__file__).parents[3]
    with subprocess.Popen(command, cwd=project, stderr=subprocess.DEVNULL) as run:
        first = shards.shard_path(tmp_path, schedule.Shard("val", 0))
        deadline = time.monotonic() + 120
        while not first.exists() and time.monotonic() < deadline and run.poll() is None:
            time.sleep(0.02)
        os.kill(run.pid, signal.SIGKILL)
    assert first.exists() and not write.annotation_path(tmp_path, "val", "data").exists()
    time.sleep(1.0)  # its workers end by themselves
    made = content(tmp_path)
    time.sleep(0.5)
    assert content(tmp_path).keys() == made.keys()
    shards.shard_path(tmp_path, schedule.Shard("val", 1)).unlink(missing_ok=True)
    (tmp_path / "images" / "left_by_a_kill.jpg.123.part").write_bytes(b"")
    ensure_synthetic("val", 2 * ONE, root=tmp_path, workers=1, progress=False)
    found = content(tmp_path)
    assert not [name for name in found if name.endswith(".part")]
    for name, data in content(root).items():
        if name.startswith(("images", "shards")):
            assert found[name] == data
    listed = annotation(tmp_path, "data")["images"]
    assert listed[: 2 * ONE] == annotation(root, "data")["images"]


@pytest.mark.slow
def test_an_interrupted_run_ends_quietly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.data.synthhands", "--split", "val", "--images", str(40 * ONE)]
    command += ["--workers", "2", "--root", str(tmp_path)]
    project = Path(write.__file__).parents[3]
    with subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        deadline = time.monotonic() + 120
        while not shards.shard_path(tmp_path, schedule.Shard("val", 0)).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to the workers too
        _, said = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "interrupted" in said and "Traceback" not in said
    assert not list(tmp_path.rglob(f"*{files.UNFINISHED}"))


@pytest.mark.slow
def test_two_processes_at_once(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.data.synthhands", "--split", "val", "--images", str(2 * ONE)]
    command += ["--workers", "1", "--root", str(tmp_path)]
    project = Path(write.__file__).parents[3]
    runs = [subprocess.Popen(command, cwd=project, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [run.wait(timeout=180) for run in runs] == [0, 0]
    assert content(tmp_path) == content(root)


def test_another_set_is_not_mixed_in(copy: Path) -> None:
    about = json.loads((copy / "dataset.json").read_bytes())
    about["hand_model"]["sha256"] = "0" * 64
    (copy / "dataset.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match="another data set"):
        ensure_synthetic("val", ONE, root=copy, progress=False)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_disk_that_refuses_is_the_users_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(self: Path, _: bytes) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(UserError, match="folder"):
        ensure_synthetic("val", ONE, root=tmp_path / "set", workers=1, progress=False)
    left = [path for path in (tmp_path / "set").rglob("*") if path.is_file()]
    assert [path.name for path in left] in ([".lock"], [])


def test_full_disk_in_a_shard_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, count = Path.write_bytes, [0]

    def fill(self: Path, data: bytes) -> int:
        count[0] += 1
        if count[0] > 10:
            real(self, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "full")
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(UserError, match="full"):
        ensure_synthetic("val", ONE, root=tmp_path, workers=1, progress=False)
    assert not list(tmp_path.rglob(f"*{files.UNFINISHED}"))
    assert not list(tmp_path.rglob("*.json"))[1:]  # the one that says what set this is


def test_too_little_space_is_said_before_work_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    monkeypatch.setattr(write, "make_shard", no_making)
    with pytest.raises(UserError, match="GB free"):
        ensure_synthetic("train", 1000, root=tmp_path, progress=False)


def test_a_root_below_a_file_is_a_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError):
        ensure_synthetic("val", ONE, root=tmp_path / "file" / "set", progress=False)


@pytest.mark.parametrize("workers", [0, -2])
def test_no_workers(tmp_path: Path, workers: int) -> None:
    with pytest.raises(UserError, match="--workers"):
        ensure_synthetic("val", ONE, root=tmp_path, workers=workers, progress=False)


def test_default_root_is_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ER_EDGE_CACHE", str(tmp_path))
    assert write.default_root() == tmp_path / f"synthhands-v{schedule.GENERATOR_VERSION}"


def test_command_line(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--split", "val", "--images", str(ONE), "--root", str(copy)]) == 0
    assert capsys.readouterr().out.strip() == str(copy)
