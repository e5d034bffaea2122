"""The command: a distilled run from start to end, resumed, planned, and refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from runtime.errors import UserError
from runtime.files import file_sha256
from runtime.hand.hand_model import load_hand_models
from training import distill
from training.checkpoint import WeightFacts, read_facts, save_weights
from training.network import build
from training.run import trainer

RECIPE = """variant = "er-nano"
images = 8
warmup_steps = 2
learning_rate = 1e-3
[[stages]]
crop_px = 64
batch = 4
steps = 4
[[stages]]
crop_px = 96
batch = 2
steps = 2
[distill]
teacher = "TEACHER"
joints = 10.0
joints_image = 1.0
heatmap = 0.1
ramp_steps = 4
"""


@pytest.fixture(autouse=True)
def few_validation_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "VALIDATION_IMAGES", 8)


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "er-xs.safetensors"
    torch.manual_seed(1)
    facts = WeightFacts("er-xs", {"name": "hand", "sha256": load_hand_models()[0].sha256}, "made", True, 1, 1, 0)
    save_weights(path, build("er-xs").state_dict(), facts)
    return path


@pytest.fixture
def recipe(tmp_path: Path, teacher_file: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.replace("TEACHER", str(teacher_file)))
    return path


def run(recipe: Path, folder: Path, *more: str) -> Path:
    arguments = ["--recipe", str(recipe), "--run-dir", str(folder), "--workers", "0", *more]
    assert distill.main(arguments) == 0
    return folder / "er-nano.safetensors"


def test_a_run_says_who_taught(synthetic_root: Path, recipe: Path, teacher_file: Path, tmp_path: Path) -> None:
    facts = read_facts(run(recipe, tmp_path / "run"))
    assert facts.teacher == {"name": "er-xs", "sha256": file_sha256(teacher_file)} and facts.steps == 6
    (row,) = csv.DictReader((tmp_path / "run" / "log.csv").open())
    assert all(float(row[f"distil_{name}"]) > 0 for name in ("joints_mm", "joints_image", "heatmap"))


def test_another_teacher_is_another_run(synthetic_root: Path, recipe: Path, teacher_file: Path, tmp_path: Path) -> None:
    run(recipe, tmp_path / "run")
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(teacher_file.read_bytes())
    run(recipe, tmp_path / "run", "--teacher", str(moved))
    with pytest.raises(UserError, match="differs in recipe"):
        run(recipe, tmp_path / "run", "--teacher", "er-xs")


def test_the_plan(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ER_EDGE_CACHE", str(tmp_path / "empty"))
    run(recipe, tmp_path / "run", "--dry-run", "--images", "16")
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines() if not line.startswith("step "))
    assert lines["network"] == "er-nano, 1.00 M parameters"
    assert lines["teacher"].startswith("er-xs, sha256 ")
    assert lines["data"] == "synthetic, 16 images, 1.2 epochs"
    assert lines["steps"] == "6: 4 of 4 crops of 64 px, 2 of 2 crops of 96 px"
    assert lines["distillation"].startswith("joints 10, joints_image 1, heatmap 0.1; grows over 4 steps; labels x 1;")
    assert "joints 10" in lines["labels"]
    assert float(lines["time"].split()[0]) >= 0 and "h on CPU, " in lines["time"]
    assert not (tmp_path / "run").exists() and not (tmp_path / "empty").exists()


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (lambda text: text.split("[distill]")[0], [], r"has no \[distill\] table"),
        (lambda text: text.replace("joints_image", "joint_image"), [], "did you mean joints_image"),
        (None, ["--images", "0"], "no image to train on"),
        (None, ["--teacher", "er-xxs"], "unknown teacher 'er-xxs'; did you mean er-xs"),
        (None, ["--data", "nowhere"], "nowhere"),
    ],
)
def test_refusals(
    synthetic_root: Path, recipe: Path, tmp_path: Path, change: Any, arguments: list[str], message: str
) -> None:
    if change is not None:
        recipe.write_text(change(recipe.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        run(recipe, tmp_path / "run", *arguments)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
