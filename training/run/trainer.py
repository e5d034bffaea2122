"""One training run: batches in order, an objective, and a folder from which it goes on after any interruption.

Data order and augmentation depend on the step alone.
"""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm import tqdm

from runtime.errors import UserError
from runtime.files import atomic_path
from runtime.hand.hand_model import HandPair
from training.checkpoint import WeightFacts, frames_sha256, save_weights
from training.data.cache import cache_error
from training.data.dataset import HandDataset, StepSampler, open_frames, start_worker
from training.data.frames import Frames, drop_missing
from training.data.mixture import SYNTHETIC, Mixture, Source
from training.data.samples import drop_damaged
from training.evaluation.predictions import evaluate, network_predictor
from training.losses import Supervised
from training.network import ERNet
from training.recipe import Recipe, Stage
from training.run import parallel
from training.run.run_log import ROW_STEPS, RunLog, draw_curves

CHECKPOINT_SECONDS = 600
VALIDATION_IMAGES = 512

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class RunSettings:
    """Where, on what and for how long a run goes."""

    folder: Path
    data: tuple[Source, ...] = (Source(SYNTHETIC),)
    workers: int = 1
    minutes: float = math.inf  # of training, from the first step on
    drawn: bool = False  # batch by batch on the GPU that trains, not read: of the synthetic set alone
    backgrounds: Path | None = None  # photographs behind what is drawn


class Trainer:
    """A run: objective, optimiser, average, log, and the step they are at. Everything is on `device`."""

    def __init__(
        self, recipe: Recipe, settings: RunSettings, objective: Supervised, hands: HandPair, device: torch.device
    ) -> None:
        for stage in recipe.stages:
            if stage.batch % (processes := parallel.world_size()):
                raise UserError(f"a batch of {stage.batch} cannot be shared evenly by {processes} processes")
        self.recipe, self.settings, self.hands, self.device = recipe, settings, hands, device
        self.network = objective.network  # what is trained
        self.objective = objective.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        parallel.synchronise_norms(self.objective)
        self.forward = DistributedDataParallel(self.objective) if parallel.is_distributed() else self.objective
        self.optimizer = torch.optim.AdamW(parameter_groups(objective, recipe.weight_decay), lr=recipe.learning_rate)
        self.average = WeightAverage(self.network, recipe.ema_decay)
        self.log = RunLog()
        self.step = 0  # of the schedule
        self.steps_done = self.samples = 0  # fewer where a time limit made the run skip steps
        self.crop_px = recipe.stages[-1].crop_px  # of the last step
        self.checkpoint = settings.folder / "checkpoint.pt"  # what the run goes on from
        self.weights = settings.folder / f"{recipe.variant}.safetensors"  # the averaged ones

    def run(self, frames: Mixture | None = None) -> Path:
        """Train to the recipe's end and write the weights; a time limit shortens what is left of the schedule.

        `frames`: open_train's, where the caller has them already. UserError for a folder with another run.
        """
        folder, data, recipe = self.settings.folder, self.settings.data, self.recipe
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cache_error(folder, error) from error
        self.frames = frames or open_train(data, self.hands, recipe.images)
        self.validation = open_split(data[0].data, "val", self.hands, VALIDATION_IMAGES)
        self.origin = self._origin(self.frames)
        if self.checkpoint.is_file():
            self._resume()
        parallel.say(f"{len(self.frames)} images of {self.frames.label}, on {parallel.hardware_name(self.device)}")
        parallel.say(f"run folder: {folder}; {self.settings.workers} processes start to load images")
        first = self.step
        began = saved = 0.0  # the time of the first step
        with tqdm(total=recipe.steps, desc=recipe.variant, unit="step", disable=parallel.rank() != 0) as bar:
            while self.step < recipe.steps:
                stage = recipe.place(self.step)[0]
                for batch, waited_s, step_began in self._batches():
                    began, saved = began or step_began + waited_s, saved or step_began + waited_s
                    figures = self._train_step(batch)
                    now = time.monotonic()
                    images = len(batch["image"]) * parallel.world_size()
                    self.samples += images
                    self.log.add({**figures, "images": images, "seconds": now - step_began, "waiting": waited_s})
                    if self.steps_done % ROW_STEPS == 0:
                        self._close_row()
                    # Behind its time the run skips steps of the schedule, so that rate and crop end where they should.
                    spent = (now - began) / 60 / max(self.settings.minutes, 1e-9)
                    due = first + min(1.0, parallel.largest(spent, self.device)) * (recipe.steps - first)
                    self.step = max(self.step + 1, int(due))
                    bar.set_postfix({k: f"{v:.3g}" for k, v in figures.items()}, refresh=False)
                    bar.update(self.step - bar.n)
                    if self.step < recipe.steps and parallel.largest(now - saved, self.device) > CHECKPOINT_SECONDS:
                        self.save()
                        saved = time.monotonic()
                    if self.step >= recipe.steps or recipe.place(self.step)[0] is not stage:
                        break
            self.save()
        return self.weights

    def _batches(self) -> Iterator[tuple[Batch, float, float]]:
        """The rest of the stage: a batch, the seconds waited for it, and when the wait began."""
        stage, steps, samples = self.recipe.place(self.step)
        self.crop_px = stage.crop_px
        loader = iter((self._drawn if self.settings.drawn else self._loaded)(stage, stage.steps - steps, samples))
        while True:
            began = time.monotonic()
            try:
                batch = next(loader, None)
            except Exception as error:
                if self.steps_done and parallel.rank() == 0:
                    self._write_checkpoint()
                # A loading process gives its whole traceback, whose last line names the error.
                problem = str(error).strip().splitlines()[-1].removeprefix("runtime.errors.UserError: ")
                what = "drawing batches" if self.settings.drawn else "loading images"
                raise UserError(f"{what} failed ({problem}): started again, the run goes on") from error
            if batch is None:
                return
            yield batch, time.monotonic() - began, began

    def _train_step(self, batch: Batch) -> dict[str, float]:
        """One step on a batch from the loader; the figures, as numbers."""
        loss, figures = self.compute(batch)
        if parallel.largest(float(not torch.isfinite(loss)), self.device):
            raise UserError(f"the loss is not finite at step {self.step}; the last checkpoint is untouched")
        self.update(loss)
        values = parallel.mean_over_processes(torch.stack([value.float() for value in figures.values()]))
        return dict(zip(figures, values.tolist(), strict=True))

    def compute(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss () of a batch from the loader, and the figures () by name."""
        self.objective.train()
        loss, figures = self.forward({k: v.to(self.device, non_blocking=True) for k, v in batch.items()}, self.step)
        return loss, figures

    def update(self, loss: Tensor) -> None:
        """Move the weights and their average down the gradient of the loss ()."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate_at(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.objective.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        self.average.update(self.network, self.recipe.place(self.step)[1])
        self.steps_done += 1

    def _drawn(self, stage: Stage, steps: int, samples: int) -> Iterator[Batch]:
        """The rest of a stage, so many steps after so many samples of the run, drawn on the GPU."""
        from training.data.synthhands import TABLES  # numba takes long to import
        from training.data.synthhands.batches import DrawnBatches
        from training.data.synthhands.drawing.canvas import find_photographs

        settings, place = self.settings, (parallel.rank(), parallel.world_size())
        # Scenes go on where an interrupted run's ended: more than one was made for every hundred samples.
        table, seed = TABLES[settings.data[0].data], self.recipe.seed + samples // 100
        photographs = () if settings.backgrounds is None else find_photographs(settings.backgrounds)
        batches = DrawnBatches(table, photographs, max(settings.workers, 1), seed, *place, self.device)
        try:
            yield from batches.take(stage.batch // place[1], stage.crop_px, steps, self.recipe.augment)
        finally:
            batches.close()

    def _loaded(self, stage: Stage, steps: int, samples: int) -> DataLoader[Batch]:
        """The rest of a stage, so many steps after so many samples of the run, read from the disk."""
        recipe, frames, workers = self.recipe, self.frames, self.settings.workers
        sizes, place = tuple(map(len, frames.parts)), (parallel.rank(), parallel.world_size())
        return DataLoader(
            HandDataset(frames.parts, stage.crop_px, recipe.augment, recipe.seed),
            batch_sampler=StepSampler(sizes, stage.batch, samples, steps, recipe.seed, *place, frames.shares),
            num_workers=workers,
            worker_init_fn=start_worker,
            pin_memory=self.device.type == "cuda",
            prefetch_factor=4 if workers else None,
            # Not forked: a process that has run OpenCV's or OpenMP's threads has children that wait for them for ever.
            multiprocessing_context="spawn" if workers else None,
        )

    def _close_row(self) -> None:
        rate = self.optimizer.param_groups[0]["lr"]
        self.log.close_row(
            {"step": self.steps_done, "samples": self.samples, "crop_px": self.crop_px, "learning_rate": rate}
        )

    def averaged(self) -> ERNet:
        """A copy of the network with the averaged weights, in eval mode."""
        average = copy.deepcopy(self.network)
        average.load_state_dict(self.average.state)
        return average.eval()

    def save(self) -> None:
        """Write averaged weights, log with their accuracy on the validation split, curves, and last the checkpoint."""
        if parallel.rank() == 0:
            average = self.averaged()
            predict = network_predictor(average, self.hands)
            errors = evaluate(predict, self.validation, self.crop_px, self.hands, "validation")
            accuracy, pck = errors.accuracy(self.validation.label), errors.points.figures()[0].pck
            facts = WeightFacts(
                variant=self.recipe.variant,
                hand_model={"name": self.hands[0].name, "sha256": self.hands[0].sha256},
                dataset=self.frames.name,
                synthetic=self.frames.synthetic,
                steps=self.steps_done,
                samples=self.samples,
                seed=self.recipe.seed,
                teacher=self.objective.taught_by,
                widths=self.network.widths or None,
                hardware=parallel.hardware_name(self.device),
            )
            save_weights(self.weights, average.state_dict(), facts)
            self._close_row()
            self.log.rows[-1] |= {
                "val_mpjpe_mm": round(accuracy.mpjpe_mm, 3),
                "val_mrrpe_mm": round(accuracy.mrrpe_mm, 3),
                "val_presence": round(accuracy.presence_accuracy, 4),
                "val_pck": None if pck is None else round(pck, 4),
                "dataset": accuracy.dataset,
            }
            self.log.write(self.settings.folder / "log.csv")
            draw_curves(self.log.rows, self.settings.folder / "curves.png")
            self._write_checkpoint()
            row = self.log.rows[-1].items()
            parallel.say(", ".join(f"{k} {v:.5g}" if isinstance(v, float) else f"{k} {v}" for k, v in row))
        if parallel.is_distributed():
            distributed.barrier()

    def _origin(self, frames: Mixture) -> dict[str, str]:
        """What decides what comes out of a run, of a network that has not been trained yet."""
        recipe = self.recipe
        if recipe.distill is not None and self.objective.taught_by is not None:  # the content, not the place it is at
            recipe = replace(recipe, distill=replace(recipe.distill, teacher=self.objective.taught_by["sha256"]))
        weights = hashlib.sha256()
        for parameter in self.network.parameters():
            weights.update(parameter.detach().cpu().contiguous().numpy().tobytes())
        return {
            "recipe": hashlib.sha256(repr(recipe).encode()).hexdigest(),
            "data": f"{frames.name} {frames_sha256(frames.parts)}",
            "hand model": self.hands[0].sha256,
            "initial weights": weights.hexdigest(),
        }

    def _write_checkpoint(self) -> None:
        state: dict[str, Any] = {
            "origin": self.origin,
            "step": self.step,
            "done": (self.steps_done, self.samples),
            "objective": self.objective.state_dict(),
            "average": self.average.state,
            "optimizer": self.optimizer.state_dict(),
            "log": vars(self.log),
        }
        with atomic_path(self.checkpoint) as temporary:
            torch.save(state, temporary)

    def _resume(self) -> None:
        remove = "remove it to start again"
        try:
            state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
            before = state["origin"]
        except Exception as error:
            raise UserError(f"{self.checkpoint} cannot be read ({type(error).__name__}): {remove}") from error
        if others := [what for what, value in self.origin.items() if before.get(what) != value]:
            run = f"a run that differs in {' and '.join(others)}"
            raise UserError(f"{self.checkpoint} belongs to {run}: give another --run-dir, or {remove}")
        self.objective.load_state_dict(state["objective"])
        self.average.state = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        vars(self.log).update(state["log"])
        self.step = state["step"]
        self.steps_done, self.samples = state["done"]


def open_train(sources: Sequence[Source], hands: HandPair, count: int) -> Mixture:
    """The train splits of all data sets; of the synthetic one, `count` images."""
    parts = tuple(open_split(source.data, "train", hands, count) for source in sources)
    return Mixture(parts, tuple(source.weight for source in sources))


def open_split(data: str, split: str, hands: HandPair, count: int) -> Frames:
    """The synthetic split as far as asked for; a real train split whole. Images that are not there are left out.

    UserError where nothing is left.
    """
    whole = not Source(data).synthetic and split == "train"
    annotated = open_frames(data, split, hands, None if whole else count)
    frames, missing = drop_missing(annotated)
    if split == "val":  # of the others the loader leaves out what is damaged
        frames, damaged = drop_damaged(frames)
        missing += damaged
    if missing:
        lost = f"{split}: {len(missing)} of {len(annotated)} images are missing or damaged, left out"
        parallel.say(f"{lost}: {', '.join(missing[:3])}")
    if not len(frames):
        raise UserError(f"the {split} split of {data} has no image to use: give another --data")
    return frames


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trained parameters, with weight decay on matrices and kernels only."""
    trained = [p for p in module.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.dim() > 1]
    vectors = [p for p in trained if p.dim() <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


class WeightAverage:
    """Exponential moving average of a network's weights; norm statistics are copied."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {k: v.detach().clone() for k, v in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move towards the network; fast in the first steps of a stage, when the average is still another stage's."""
        decay = min(self.decay, (1 + step) / (10 + step))
        trained = dict(network.named_parameters())
        for name, value in network.state_dict().items():
            if name in trained:
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)
