"""Recipes: the shipped ones, what a wrong one gets, and those for InterHand2.6M, small."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch

from runtime.errors import UserError
from training import distill, train
from training.checkpoint import read_facts
from training.network import build, get_variant
from training.recipe import FOLDER, Recipe, Stage, default_recipe_path, read_recipe
from training.run import trainer

GOOD = 'variant = "er-xs"\nimages = 100\n[[stages]]\ncrop_px = 128\nbatch = 4\nsteps = 10\n'


def test_epochs_become_steps_and_a_batch_keeps_the_samples() -> None:
    recipe = Recipe("er-xs", (Stage(128, 8, 10), Stage(224, 8, epochs=3.0, learning_rate=0.1)), learning_rate=1.0)
    whole = recipe.for_images(100)
    assert [stage.steps for stage in whole.stages] == [10, 38] and whole.images == 100
    halved = recipe.with_batch(4).for_images(100)
    assert [(stage.steps, stage.batch) for stage in halved.stages] == [(20, 4), (75, 4)]
    assert (halved.learning_rate, halved.stages[1].learning_rate) == (0.5, 0.05)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_recipes(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.variant in (path.stem, path.stem.removesuffix("-more"))
    assert default_recipe_path(recipe.variant) in FOLDER.glob("*.toml")
    assert recipe.stages[-1].crop_px == get_variant(recipe.variant).crop_px
    assert recipe.distill is not None
    assert get_variant(recipe.distill.teacher).params_budget_m > get_variant(recipe.variant).params_budget_m


def test_what_is_gone_is_left_out_with_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Recipes of before: terms, stored outputs and a table that are none any more."""
    path = tmp_path / "recipe.toml"
    distill = "[distill]\nteacher = 'er-s'\njoints = 10.0\npresence = 0.5\ndraws = 2\n"
    path.write_text(f"# 両手\n{GOOD}{distill}[qat]\nsteps = 3\n", encoding="utf-8")
    recipe = read_recipe(path)
    assert recipe.distill is not None and recipe.distill.weights == {"joints": 10.0}
    assert "left out, as they are gone: draws, presence, qat" in capsys.readouterr().err


def test_stages() -> None:
    recipe = Recipe("er-xs", (Stage(128, 8, 10), Stage(224, 4, 5)), images=1)
    assert (recipe.steps, recipe.samples) == (15, 100)
    first, second = recipe.stages
    expected = [(first, 0, 0), (first, 9, 72), (second, 0, 80), (second, 4, 96), (second, 5, 100)]
    assert [recipe.place(step) for step in (0, 9, 10, 14, 15)] == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("variant = ", "not valid TOML"),
        ('variant = "er-xs"\nimages = 1', "stages: is missing"),
        ('variant = "er-xs"\nimages = 1\nstages = []', "at least one"),
        (GOOD.replace("steps = 10", "steps = 1.5"), r"stages\[0\]\.steps: must be of type int"),
        ("learning_rte = 1.0\n" + GOOD, "did you mean learning_rate"),
        (GOOD.replace("steps = 10", "steps = 0"), "either steps or epochs"),
        (GOOD.replace("crop_px = 128", "crop_px = 16"), "at least 64"),
        ("losses = 3\n" + GOOD, "a table"),
        (GOOD + '[distill]\nteacher = "er-s"\njoint = 3.0', "did you mean joints"),
        (GOOD + "[distill]\njoints = 3.0", "distill.teacher: is missing"),
        (GOOD + '[distill]\nteacher = "er-s"', "no term has a weight"),
        (GOOD + '[distill]\nteacher = "er-s"\njoints = 1.0\ntemperature = 0.0', "'temperature' must be above 0"),
        (GOOD + '[distill]\nteacher = "er-s"\njoints = -3', "distill: 'joints' must be 0 or more"),
    ],
)
def test_wrong_recipes(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        read_recipe(path)
    assert "\n" not in str(caught.value)


def test_a_missing_recipe(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        read_recipe(tmp_path / "none.toml")
    with pytest.raises(UserError, match="no recipe comes with 'er-l'"):
        default_recipe_path("er-l")


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
