"""A run from start to end, resumed, killed, shared by processes, and refused."""

from __future__ import annotations

import contextlib
import csv
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from training.checkpoint import load_network, read_facts
from training.data.dataset import HandDataset, open_frames
from training.data.mixture import Mixture, Source
from training.data.synthhands import batches
from training.hands.layer import HandLayer
from training.losses import Supervised
from training.network import build
from training.recipe import Recipe, Stage
from training.run import trainer
from training.run.run_log import RunLog, draw_curves
from training.run.runs import drawn_here
from training.run.trainer import RunSettings, Trainer, WeightAverage, parameter_groups

ROOT = Path(__file__).parents[3]
HANDS = load_hand_models()
RECIPE = Recipe(
    variant="er-nano", stages=(Stage(64, 4, 4), Stage(96, 2, 2)), images=48, warmup_steps=2, learning_rate=1e-3
)
MEASURED = {"images_per_s", "waiting_pct"}  # differ from run to run
TOML = """variant = "er-nano"
images = 48
warmup_steps = {warmup}
[[stages]]
crop_px = 64
batch = 4
steps = {steps}
"""


@pytest.fixture(autouse=True)
def few_validation_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "VALIDATION_IMAGES", 16)


def make_trainer(folder: Path, recipe: Recipe = RECIPE, **settings: Any) -> Trainer:
    torch.manual_seed(recipe.seed)
    objective = Supervised(build(recipe.variant), HandLayer(*HANDS), recipe.losses)
    settings = RunSettings(folder, **{"workers": 0, **settings})
    return Trainer(recipe, settings, objective, HANDS, torch.device("cpu"))


def read_log(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in MEASURED} for row in csv.DictReader(file)]


def distance(first: Path, second: Path) -> float:
    states = [load_network(path, "er-nano")[0].state_dict() for path in (first, second)]
    return max(float((states[0][key].float() - states[1][key].float()).abs().max()) for key in states[0])


def test_a_run_writes_weights_log_curves_and_checkpoint(synthetic_root: Path, tmp_path: Path) -> None:
    weights = make_trainer(tmp_path).run()
    facts = read_facts(weights)
    assert (facts.variant, facts.steps, facts.samples, facts.synthetic) == ("er-nano", 6, 4 * 4 + 2 * 2, True)
    assert facts.hand_model["sha256"] == HANDS[0].sha256 and facts.hardware is not None and "CPU" in facts.hardware
    assert not load_network(weights, "er-nano")[0].training
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [row["step"] for row in rows] == ["6"]
    assert float(rows[0]["val_mpjpe_mm"]) > 0 and "synthetic" in rows[0]["dataset"]
    assert 0 <= float(rows[0]["waiting_pct"]) <= 100 and float(rows[0]["images_per_s"]) > 0
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_on_batches_that_are_drawn_for_it(
    synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, but drawn by the CPU: no image is read."""
    monkeypatch.setattr(batches, "ENOUGH", {"scenes": 8, "canvases": 2, "textures": 1})
    monkeypatch.setattr(trainer, "HandDataset", lambda *_: pytest.fail("images are read"))
    weights = make_trainer(tmp_path, drawn=True).run()
    assert read_facts(weights).steps == 6
    assert float(next(csv.DictReader((tmp_path / "log.csv").open()))["images_per_s"]) > 0


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    synthetic_root: Path, tmp_path: Path, die_after: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "ROW_STEPS", 2)
    whole = make_trainer(tmp_path / "whole").run()
    die_after(3)
    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path / "parts").run()
    die_after(10_000)
    assert torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)["step"] == 3
    assert distance(whole, make_trainer(tmp_path / "parts").run()) == 0


@pytest.fixture
def die_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Checkpoint at every step, and die after so many."""
    original = Trainer.save

    def arm(steps: int) -> None:
        monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0)

        def save(self: Trainer, *arguments: object) -> None:
            original(self, *arguments)  # type: ignore[arg-type]
            if self.step == steps:
                raise KeyboardInterrupt

        monkeypatch.setattr(Trainer, "save", save)

    return arm


# A process that checkpoints every step and shows the step it is at.
RUN = """
import sys
from training import train
from training.run import trainer
trainer.CHECKPOINT_SECONDS, trainer.VALIDATION_IMAGES, trainer.ROW_STEPS = {seconds}, 8, 1
{more}sys.exit(train.main(sys.argv[1:]))
"""


# Norms as several processes have them, in one. Where pictures are flat and channels constant, torch's own lose digits:
# on a CPU their gradient is 3e-3 from that in double precision, ours 1e-5.
OWN_NORMS = """
import torch
from training.run import parallel
plain = torch.nn.BatchNorm2d.forward
own = parallel.SyncedBatchNorm2d.forward
torch.nn.BatchNorm2d.forward = lambda self, x: (own if self.training else plain)(self, x)
parallel.all_reduce = lambda x: x
"""


def start(folder: Path, recipe: Path, seconds: float, *launcher: str, more: str = "") -> subprocess.Popen[bytes]:
    command = RUN.format(seconds=seconds, more=more)
    arguments = ["--recipe", str(recipe), "--run-dir", str(folder), "--workers", "0"]
    script = folder.parent / f"run_{seconds}.py"
    script.write_text(command)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *launcher, str(script), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.mark.slow
def test_killed_at_any_moment_the_curve_is_that_of_an_uninterrupted_run(synthetic_root: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(TOML.format(steps=12, warmup=2))
    whole = start(tmp_path / "whole", recipe, 1e9)
    killed = tmp_path / "killed"
    for patience_s in (0.4, 1.1, 1.7):  # after each start's first checkpoint: different steps, in the middle of them
        process = start(killed, recipe, 0)
        seen = (killed / "checkpoint.pt").stat().st_mtime_ns if (killed / "checkpoint.pt").exists() else 0
        while process.poll() is None:
            if (killed / "checkpoint.pt").exists() and (killed / "checkpoint.pt").stat().st_mtime_ns != seen:
                break
            time.sleep(0.02)
        time.sleep(patience_s)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    last = start(killed, recipe, 1e9)
    for process in (last, whole):
        output = process.communicate()[0].decode()
        assert process.returncode == 0, output
    rows, expected = read_log(killed), read_log(tmp_path / "whole")
    losses = [[row["loss"] for row in log] for log in (rows, expected)]
    assert len(losses[0]) == 12 and losses[0] == losses[1]
    assert distance(killed / "er-nano.safetensors", tmp_path / "whole" / "er-nano.safetensors") == 0


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 4])
def test_two_processes_do_what_one_does(synthetic_root: Path, tmp_path: Path, steps: int) -> None:
    """torchrun with gloo on the CPU: the same global batch, hence the same losses, gradients and norm statistics.

    In the warm-up: Adam divides by the gradient's size, so rounding shows in any two runs, sooner at a higher rate.
    Gradients, of which Adam forgets the scale, are compared after the first step: a tenth of them is its momentum.
    """
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(TOML.format(steps=steps, warmup=300))
    port = 20_000 + os.getpid() % 20_000
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", f"--master-port={port}")
    both = start(tmp_path / "two", recipe, 1e9, *launcher)
    one = start(tmp_path / "one", recipe, 1e8, more=OWN_NORMS)
    for process in (both, one):
        output = process.communicate()[0].decode()
        assert process.returncode == 0, output
        assert len(re.findall("weights: ", output)) == 1
    first, second = read_log(tmp_path / "two"), read_log(tmp_path / "one")
    assert len(first) == steps
    for name in ("loss", "mesh_mm", "presence", "relative_translation"):
        values = [[float(row[name]) for row in log] for log in (first, second)]
        assert values[0] == pytest.approx(values[1], rel=1e-4), name
    two, alone = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("two", "one"))
    if steps == 1:
        momenta = [torch.cat([s["exp_avg"].flatten() for s in c["optimizer"]["state"].values()]) for c in (two, alone)]
        assert float((momenta[0] - momenta[1]).norm() / momenta[1].norm()) < 1e-4
    for key, value in alone["objective"].items():
        assert torch.allclose(two["objective"][key].double(), value.double(), rtol=1e-4, atol=1e-4), key


def test_missing_images_are_named_and_training_goes_on(
    synthetic_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(synthetic_root, data)
    gone = sorted((data / "images" / "train").rglob("*.jpg"))[:5]
    for path in gone:
        path.unlink()
    run = make_trainer(tmp_path / "run", data=(Source(str(data)),))
    run.run()
    shown = capsys.readouterr().out
    assert "train: 5 of 48 images are missing or damaged" in shown and gone[0].name in shown
    assert run.step == RECIPE.steps


def test_a_folder_belongs_to_one_recipe_data_and_start(synthetic_root: Path, tmp_path: Path) -> None:
    make_trainer(tmp_path).run()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    recipe, start = make_trainer(tmp_path, replace(RECIPE, learning_rate=1e-4)), make_trainer(tmp_path)
    with torch.no_grad():
        next(start.network.parameters()).add_(1e-3)
    fewer = Mixture((open_frames("synthetic", "train", HANDS, 40),), (1.0,))
    for other, frames, what in ((recipe, None, "recipe"), (start, fewer, "data and initial weights")):
        with pytest.raises(UserError, match=rf"belongs to a run that differs in {what}: give another") as caught:
            other.run(frames)
        assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match=r"checkpoint\.pt cannot be read"):
        make_trainer(tmp_path).run()


def test_a_time_limit_ends_the_schedule(synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are skipped, the rate and the crop end where the recipe's do, and the card says what was done."""
    ticks = itertools.count()  # every look at the clock takes 50 ms, whatever else the machine does
    monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: 0.05 * next(ticks)))
    run = make_trainer(tmp_path, replace(RECIPE, stages=(Stage(64, 4, 400), Stage(96, 2, 100))), minutes=0.02)
    facts = read_facts(run.run())
    assert run.step == 500 and 2 < facts.steps == run.steps_done < 20
    (*_, last) = csv.DictReader((tmp_path / "log.csv").open())
    assert last["crop_px"] == "96" and float(last["learning_rate"]) < 0.1 * RECIPE.learning_rate
    assert last["samples"] == str(facts.samples)


def test_an_error_of_the_loading_leaves_a_checkpoint(
    synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = HandDataset.__getitem__
    calls: list[object] = []

    def fail(self: HandDataset, key: tuple[int, int]) -> dict[str, torch.Tensor]:
        calls.append(key)
        if len(calls) == 10:
            raise OSError("the disk is gone")
        return read(self, key)

    whole = make_trainer(tmp_path / "whole").run()
    monkeypatch.setattr(HandDataset, "__getitem__", fail)
    with pytest.raises(UserError, match=r"the disk is gone.*started again, the run goes on"):
        make_trainer(tmp_path / "run").run()
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["step"] == 2
    assert distance(whole, make_trainer(tmp_path / "run").run()) == 0


def test_a_loss_that_is_not_finite_ends_the_run(synthetic_root: Path, tmp_path: Path) -> None:
    run = make_trainer(tmp_path)
    with torch.no_grad():
        next(run.network.parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match="not finite at step 0"):
        run.run()
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.slow
def test_loading_processes_start_at_every_stage(
    synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second stage's processes start after this one has validated, with all its threads."""
    recipe = replace(RECIPE, stages=(Stage(64, 4, 2), Stage(96, 2, 2)))
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0)
    weights = make_trainer(tmp_path / "with", recipe, workers=1).run()
    assert distance(weights, make_trainer(tmp_path / "without", recipe).run()) == 0


def test_the_rate_falls_starts_again_with_a_stage_of_its_own_or_drops() -> None:
    first, second = Stage(64, 1, 110), Stage(96, 1, 100, learning_rate=0.5)
    recipe = Recipe("er-nano", (first, second), 1, warmup_steps=10, learning_rate=1.0, final_learning_rate=0.0)
    rates = [recipe.rate_at(step) for step in (0, 9, 10, 60, 109, 110, 119, 120, 165, 210)]
    assert rates == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.0, 0.05, 0.5, 0.5, 0.25, 0.0], abs=1e-3)
    recipe = Recipe("er", (Stage(64, 1, 100),), warmup_steps=10, learning_rate=1.0, drops=(0.5, 0.6))
    rates = [recipe.rate_at(step) for step in (4, 10, 49, 50, 59, 60, 99)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01])


def test_weight_average() -> None:
    network = build("er-nano")
    average = WeightAverage(network, decay=0.5)
    before = average.state["regress.translation.0.weight"].clone()
    with torch.no_grad():
        network.regress.translation[0].weight.add_(1.0)
        network.backbone.layers[0][0].bn.running_mean.add_(3.0)
    average.update(network, step=1000)
    assert torch.allclose(average.state["regress.translation.0.weight"], before + 0.5)
    assert float(average.state["backbone.layers.0.0.bn.running_mean"].mean()) == 3.0


def test_only_matrices_decay_and_what_is_frozen_is_left_out() -> None:
    network = build("er-nano")
    network.regress.translation[0].weight.requires_grad_(False)
    decayed, free = (group["params"] for group in parameter_groups(network, 0.05))
    assert all(p.dim() > 1 for p in decayed) and all(p.dim() <= 1 for p in free)
    assert len(decayed) + len(free) == len(list(network.parameters())) - 1
    assert not any(p is network.regress.translation[0].weight for p in decayed)


def test_rows_are_means_and_survive_a_checkpoint(tmp_path: Path) -> None:
    log = RunLog()
    log.close_row({"step": 0})  # there was no step
    for loss in (1.0, 2.0):
        log.add({"loss": loss, "images": 8, "seconds": 0.5, "waiting": 0.1})
    resumed = RunLog()
    vars(resumed).update(vars(log))
    resumed.add({"loss": 6.0, "images": 8, "seconds": 1.0, "waiting": 0.0})
    resumed.close_row({"step": 3, "samples": 24, "crop_px": 64, "learning_rate": 0.1})
    assert resumed.rows == [{
        "step": 3, "samples": 24, "crop_px": 64, "learning_rate": 0.1,
        "loss": 3.0, "images_per_s": 12.0, "waiting_pct": 10.0,
    }]  # fmt: skip
    resumed.rows[-1] |= {"val_mpjpe_mm": 30.0, "dataset": "a set"}
    resumed.add({"loss": 4.0, "distilled": 1.0, "images": 8, "seconds": 1.0, "waiting": 0.0})
    resumed.close_row({"step": 4, "samples": 32, "crop_px": 128, "learning_rate": 0.1})
    resumed.write(tmp_path / "log.csv")
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [row["loss"] for row in rows] == ["3", "4"]
    assert rows[0]["distilled"] == "" and rows[1]["distilled"] == "1" and rows[1]["val_mpjpe_mm"] == ""
    draw_curves(resumed.rows, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 5000


CPU, GPU = torch.device("cpu"), torch.device("cuda")
SYNTHETIC, FOLDER = Source("synthetic"), Source("somewhere")


@pytest.mark.parametrize(
    ("sources", "device", "drawn"),
    [
        ([SYNTHETIC], GPU, True),
        ([Source("synthetic-v1")], GPU, True),
        ([SYNTHETIC], CPU, False),
        ([SYNTHETIC, FOLDER], GPU, False),
        ([FOLDER], GPU, False),
    ],
)
def test_the_synthetic_set_alone_is_drawn_on_a_gpu(sources: list[Source], device: torch.device, drawn: bool) -> None:
    args = Namespace(data=sources, backgrounds=None)
    assert drawn_here(args, device) is drawn
    args.backgrounds = Path("photographs")
    with contextlib.nullcontext() if drawn else pytest.raises(UserError, match="--backgrounds"):
        drawn_here(args, device)
