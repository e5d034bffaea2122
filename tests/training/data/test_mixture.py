"""Several data sets in one run: what the command line says, and a run over three of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from tests.fixtures.picture_sets import make_coco, make_reinterhand
from training.checkpoint import read_facts
from training.data.dataset import HandDataset, open_frames
from training.data.mixture import Mixture, Source, parse_source
from training.run import trainer
from training.train import main

HANDS = load_hand_models()
RECIPE = """variant = "er-nano"
images = 48
warmup_steps = 1
[[stages]]
crop_px = 64
batch = 8
steps = 3
"""


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("synthetic", Source("synthetic")),
        ("synthetic:2", Source("synthetic", 2)),
        ("/data/A:0.5", Source("/data/A", 0.5)),
        (r"C:\hands", Source(r"C:\hands")),
        (r"C:\hands:3", Source(r"C:\hands", 3)),
        ("a:b:1e1", Source("a:b", 10)),
    ],
)
def test_words(word: str, expected: Source) -> None:
    assert parse_source(word) == expected


def test_a_folder_that_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_source("take:2") == Source("take", 2)
    (tmp_path / "take:2").mkdir()
    assert parse_source("take:2") == Source("take:2")
    assert parse_source("take:2:3") == Source("take:2", 3)


@pytest.mark.parametrize("word", ["a:0", "a:-1", "a:nan", "a:inf"])
def test_weights_that_are_none(word: str) -> None:
    with pytest.raises(UserError, match=f"--data {word}: a weight is a number above 0"):
        parse_source(word)


def test_images_are_numbered_through(synthetic_root: Path, tmp_path: Path) -> None:
    parts = [open_frames("synthetic", "train", HANDS, 48), open_frames(str(make_coco(tmp_path)), "test", HANDS)]
    mixed = Mixture(tuple(parts), (3.0, 1.0))
    assert Mixture((parts[0],), (3.0,)).label == "SynthHands v2.2 (synthetic)"
    assert len(mixed) == 53
    assert mixed.shares == (0.75, 0.25) and mixed.synthetic
    assert mixed.label == "SynthHands v2.2 (synthetic) x 3, COCO-WholeBody x 1"
    dataset, alone = HandDataset(parts, 64), [HandDataset([part], 64) for part in parts]
    for index, (part, in_part) in {47: (0, 47), 48: (1, 0), 52: (1, 4)}.items():
        assert torch.equal(dataset[index]["image"], alone[part][in_part]["image"])


@pytest.mark.slow
def test_a_run_over_three_data_sets(
    synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trainer, "VALIDATION_IMAGES", 16)
    recipe, run = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(RECIPE)
    coco, relit = make_coco(tmp_path / "coco", "train"), make_reinterhand(tmp_path / "relit")
    data = ["--data", "synthetic:2", str(coco), f"{relit}:0.5"]
    assert main(["--recipe", str(recipe), "--run-dir", str(run), "--workers", "0", *data]) == 0
    name = "SynthHands v2.2 (synthetic) x 2, COCO-WholeBody x 1, Re:InterHand x 0.5"
    assert f"of {name}" in capsys.readouterr().out
    assert read_facts(run / "er-nano.safetensors").dataset == name.replace(" (synthetic)", "")
    header, *_, last = (run / "log.csv").read_text().splitlines()
    row = dict(zip(header.split(","), last.split(","), strict=True))
    assert row["dataset"] == "SynthHands v2.2 (synthetic)" and float(row["val_pck"]) >= 0
    with pytest.raises(UserError, match="belongs to a run that differs in recipe and data"):
        main(["--recipe", str(recipe), "--run-dir", str(run), "--workers", "0", "--data", "synthetic", str(coco)])
