"""The demo command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

from runtime.demo import main
from runtime.errors import run_command
from runtime.image.reading import read_image
from runtime.video.outputs import video_file

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "example.jpg"
MakeModel = Callable[..., Path]


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "photo of hands.png"
    path.write_bytes(cv2.imencode(".png", np.full((240, 320, 3), 90, np.uint8))[1].tobytes())
    return path


def test_writes_and_prints(photo: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "folder"
    arguments = [str(photo), "--model", str(tiny_model), "--output-dir", str(folder), "--threads", "1"]
    assert main([*arguments, "--box", "40", "0", "240", "240"]) == 0
    facts = json.loads(capsys.readouterr().out)
    names = [f"photo of hands_{end}" for end in ("overlay.png", "right.obj", "left.obj")]
    assert facts["files"] == [str(folder / name) for name in names]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    assert set(facts["hands"]) == {"right", "left"} and min(facts["hands"].values()) > 0.9
    assert facts["model_dataset_is_synthetic"] is True
    overlay = read_image(folder / names[0])
    assert overlay.shape == (240, 320, 3)
    assert (overlay != 90).any()


def test_mesh_formats(photo: Path, make_model: MakeModel, tmp_path: Path) -> None:
    """Of the hands that are there."""
    folder, model = tmp_path / "out", make_model(outputs={"presence": np.array([[-3.0, 3.0]])})
    arguments = [str(photo), "--whole-image", "--model", str(model), "--output-dir", str(folder), "--no-overlay"]
    assert main([*arguments, "--mesh", "obj", "glb"]) == 0
    assert {path.name for path in folder.iterdir()} == {"photo of hands_hands.glb", "photo of hands_left.obj"}


def test_a_picture_without_hands(
    photo: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    arguments = [str(photo), "--model", str(tiny_model), "--json", "--output-dir", str(folder)]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == f"no hand found in {photo}\n"
    assert not folder.exists()
    facts = json.loads(captured.out)
    assert main([*arguments, "--whole-image"]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert facts.keys() == seen.keys() and facts["files"] == []
    for side in ("right", "left"):
        assert facts["hands"][side].keys() == seen["hands"][side].keys()
        assert not facts["hands"][side]["present"] and facts["hands"][side]["joints_mm"] is None


def test_a_folder(tiny_model: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pictures with hands and without, and files that are none."""
    folder, out = photo.parent, tmp_path / "out"
    shutil.copy(EXAMPLE, folder / "hands.jpg")
    (folder / "notes.txt").write_text("no picture", encoding="utf-8")
    arguments = ["--model", str(tiny_model), "--output-dir", str(out)]
    assert main([str(folder), *arguments]) == 0
    captured = capsys.readouterr()
    facts = json.loads(captured.out)
    assert (facts["images"], facts["images_with_hands"], facts["hands"]) == (2, 1, 2)
    assert captured.err == f"skipped: {facts['skipped'][0]}\n" and "notes.txt" in captured.err
    assert facts["files"] == [str(path) for path in out.iterdir()] == [str(out / "contact_sheet_001.jpg")]

    assert main([str(photo), str(folder / "hands.jpg"), *arguments, "--json", "--no-overlay", "--mesh", "obj"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"] for line in lines] == [str(photo), str(folder / "hands.jpg")]
    assert [line["hands"]["left"]["present"] for line in lines] == [False, True]
    assert {path.name for path in out.iterdir()} == {"contact_sheet_001.jpg", "hands_right.obj", "hands_left.obj"}


@pytest.mark.parametrize("style", [["runtime/demo.py"], ["-m", "runtime.demo"]])
def test_as_a_command_in_a_copied_folder(tiny_model: Path, tmp_path: Path, style: list[str]) -> None:
    """On a device, nothing of this project is installed: `-S` hides what is."""
    device = tmp_path / "device"
    shutil.copytree(ROOT / "runtime", device / "runtime", ignore=shutil.ignore_patterns("__pycache__"))
    libraries = {str(Path(module.__file__ or "").parents[1]) for module in (cv2, np, onnxruntime)}
    command = [sys.executable, "-S", *style, str(EXAMPLE), "--model", str(tiny_model), "--output-dir", "out", "--json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(libraries)}
    result = subprocess.run(command, cwd=device, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["hands"]["right"]["present"]


def test_mistakes_end_in_one_line(
    photo: Path, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", str(tiny_model)]
    clip, damaged = str(tmp_path / "clip.mp4"), tmp_path / "damaged.png"
    with video_file(Path(clip), 25.0) as video:
        video.write(np.zeros((96, 128, 3), np.uint8))
    damaged.write_bytes(photo.read_bytes()[:-30])
    (tmp_path / "empty").mkdir()
    for arguments, reason in (
        ([], "required: IMAGE|FOLDER|VIDEO|CAMERA, --model"),
        ([str(photo), *model, "--bix"], "--bix"),
        ([str(photo), *model, "--box", "1000", "0", "9", "9"], "outside the image"),
        ([str(photo), *model, "--hand-model", "none.npz"], "none.npz"),
        ([str(photo), *model, "--whole-image", "--output-dir", str(photo)], "photo of hands.png"),
        ([str(tmp_path / "none.png"), *model], "none.png"),
        ([str(damaged), *model], "damaged.png"),
        ([str(tmp_path / "empty"), *model], "no image in"),
        ([str(tmp_path / "none.png"), str(damaged), *model], "none.png"),
        ([str(photo), clip, *model], "give video"),
        ([str(photo), "0", *model], "give camera 0 alone"),
        ([str(tmp_path), *model, "--box", "1", "2", "3", "4"], "--box is for one image"),
        ([str(tmp_path), *model, "--smooth"], "--smooth is for videos"),
        ([str(tmp_path), *model, "--no-overlay"], "add --json"),
        ([str(photo), "--model", "none.onnx"], "none.onnx"),
        ([str(photo), *model, "--camera-fps", "30"], "--camera-fps is for cameras"),
        (["0", *model, "--camera-size", "wide"], "--camera-size"),
        ([str(tmp_path / "none.mp4"), *model], "not there"),
        (["97", *model], "camera 97"),
        ([clip, *model, "--mesh", "glb"], "for images"),
        ([clip, *model, "--no-overlay"], "add --json"),
        ([clip, *model, "--box", "0", "0", "9", "9", "--whole-image"], "not allowed with"),
    ):
        with pytest.raises(SystemExit, match="2"):
            run_command(lambda: main(arguments))  # noqa: B023
        captured = capfd.readouterr()
        (line,) = [line for line in captured.err.splitlines() if not line.startswith("libpng")]  # old OpenCVs' own
        assert captured.out == "" and line.startswith("error: ") and reason in line
