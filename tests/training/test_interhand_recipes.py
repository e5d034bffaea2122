"""The recipes for InterHand2.6M, small: the teacher from ImageNet weights, then every student from it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch

from training import distill, train
from training.checkpoint import read_facts
from training.network import build, get_variant
from training.recipe import FOLDER, read_recipe
from training.run import trainer

RECIPES = {path.stem: path for path in sorted((FOLDER / "interhand").glob("*.toml"))}


@pytest.fixture(scope="module")
def tree(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree in the official layout that does not call itself synthetic."""
    root = tmp_path_factory.mktemp("interhand")
    for split in ("train", "val"):
        for kind in ("annotations", "images"):
            shutil.copytree(synthetic_root / kind / split, root / kind / split)
    return root


@pytest.mark.parametrize("name", RECIPES)
def test_as_in_the_paper(name: str) -> None:
    recipe = read_recipe(RECIPES[name])
    (stage,) = recipe.stages
    assert (recipe.variant, stage.crop_px, stage.epochs) == (name, get_variant(name).crop_px, 30)
    assert 80 <= stage.batch <= 256 and recipe.learning_rate == pytest.approx(1e-4 * stage.batch / 80)
    assert (recipe.distill is None) == (name == "er") and recipe.bf16


@pytest.mark.slow
def test_teacher_and_students_on_a_made_tree(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trainer, "VALIDATION_IMAGES", 2)
    monkeypatch.chdir(tmp_path)
    resnet = {**build("er").backbone.state_dict(), "fc.weight": torch.zeros(1000, 2048)}
    torch.save(resnet, "resnet50.pth")

    def small(name: str) -> list[str]:
        text = RECIPES[name].read_text(encoding="utf-8")
        Path(f"{name}.toml").write_text(re.sub(r"crop_px = \d+", "crop_px = 112", text), encoding="utf-8")
        options = ["--data", str(tree), "--batch", "2", "--minutes", "0", "--workers", "0"]
        return ["--recipe", f"{name}.toml", "--run-dir", f"runs/{name}", *options]

    assert train.main([*small("er"), "--init", "resnet50.pth"]) == 0
    Path("runs/er/checkpoint.pt").unlink()  # 1.5 GB
    assert "the backbone was taken" in capsys.readouterr().out
    teacher = read_facts(Path("runs/er/er.safetensors"))
    assert (teacher.dataset, teacher.synthetic, teacher.steps) == ("InterHand2.6M", False, 1)
    for name in RECIPES.keys() - {"er"}:
        assert distill.main(small(name)) == 0
        facts = read_facts(Path(f"runs/{name}/{name}.safetensors"))
        assert facts.teacher is not None and facts.teacher["name"] == "er" and not facts.synthetic


def test_a_dry_run_says_hours(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--recipe", str(RECIPES["er-xs"]), "--data", str(tree), "--batch", "1", "--dry-run"]
    assert train.main(command) == 0
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert lines["data"] == "InterHand2.6M, 48 images, 30.0 epochs"
    assert lines["steps"] == "1440: 1440 of 1 crops of 224 px" and "h on CPU" in lines["time"]
