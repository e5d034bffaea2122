"""Train a variant: `python training/train.py --variant er-xs --data synthetic`.

A run lives in one folder: `checkpoint.pt` (everything needed to go on), `log.csv`, `<variant>.safetensors` (the moving
average of the weights). Started again, it goes on from its last checkpoint; the data order and the augmentation depend
on the step alone, so the run ends where an uninterrupted one does.
"""

from __future__ import annotations

import csv
import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from tqdm import tqdm

from runtime.errors import CommandParser, UserError, run_command
from runtime.files import atomic_path
from runtime.hand_model import HandModel, load_hand_models
from training.cache import cache_dir
from training.checkpoint import WeightFacts, load_network, save_weights
from training.data.dataset import SYNTHETIC, HandDataset, open_frames, start_worker
from training.data.interhand import Frames
from training.evaluate import dataset_label, evaluate, network_predictor
from training.hands.layer import HandLayer
from training.losses import compute_losses
from training.network import ERNet, build
from training.recipe import Recipe, default_recipe_path, read_recipe

CHECKPOINT_SECONDS = 600
VALIDATION_IMAGES = 512
SMOOTHING = 0.98  # of the figures on the progress line


@dataclass(frozen=True)
class RunSettings:
    """Where and how fast a run goes; nothing here changes what comes out of it, but `init` and `data`."""

    folder: Path
    data: str = SYNTHETIC
    init: Path | None = None
    hand_model: Path | None = None
    workers: int = 1
    stop_after_s: float = math.inf


class StepSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (image, epoch) from a given sample on: each epoch is a seeded permutation of all images."""

    def __init__(self, images: int, batch: int, start_sample: int, steps: int, seed: int) -> None:
        self.images, self.batch, self.start_sample, self.steps, self.seed = images, batch, start_sample, steps, seed

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = -1, torch.empty(0, dtype=torch.long)
        position = self.start_sample
        for _ in range(self.steps):
            keys = []
            for sample in range(position, position + self.batch):
                if sample // self.images != epoch:
                    epoch = sample // self.images
                    order = torch.randperm(self.images, generator=torch.Generator().manual_seed(self.seed + epoch))
                keys.append((int(order[sample % self.images]), epoch))
            position += self.batch
            yield keys


class WeightAverage:
    """Exponential moving average of a network's weights; norm statistics are copied."""

    def __init__(self, network: ERNet, decay: float) -> None:
        self.decay = decay
        self.state = {k: v.detach().clone() for k, v in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: ERNet, step: int) -> None:
        """Move towards the network; fast in the first steps of a stage, when the average is still another stage's."""
        decay = min(self.decay, (1 + step) / (10 + step))
        trained = dict(network.named_parameters())
        for name, value in network.state_dict().items():
            if name in trained:
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)


class Trainer:
    """One run: network, optimiser, average and the step they are at."""

    def __init__(self, recipe: Recipe, settings: RunSettings) -> None:
        self.recipe, self.settings = recipe, settings
        self.hands: tuple[HandModel, HandModel] = load_hand_models(settings.hand_model)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(recipe.seed)
        network = build(recipe.variant)
        if settings.init is not None:
            network.load_state_dict(load_network(settings.init, recipe.variant)[0].state_dict())
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.layer = HandLayer(*self.hands).to(self.device)
        self.average = WeightAverage(self.network, recipe.ema_decay)
        self.optimizer = torch.optim.AdamW(parameter_groups(self.network, recipe.weight_decay), lr=recipe.learning_rate)
        self.step = 0
        self.checkpoint = settings.folder / "checkpoint.pt"
        if self.checkpoint.is_file():
            self._resume()

    def run(self) -> Path:
        """Train to the recipe's end, or to the time limit, and write the weights."""
        self.settings.folder.mkdir(parents=True, exist_ok=True)
        frames = self._frames("train", self.recipe.images)
        validation = self._frames("val", VALIDATION_IMAGES)
        began = saved = time.monotonic()
        with tqdm(total=self.recipe.steps, initial=self.step, desc=self.recipe.variant, unit="step") as bar:
            shown: dict[str, float] = {}
            while self.step < self.recipe.steps:
                stage_end = self._stage_end()
                for batch in self._loader(frames, stage_end - self.step):
                    figures = self._train_step(batch)
                    for name, value in figures.items():
                        shown[name] = SMOOTHING * shown.get(name, value) + (1 - SMOOTHING) * value
                    bar.set_postfix({k: f"{v:.3g}" for k, v in shown.items()}, refresh=False)
                    bar.update()
                    now = time.monotonic()
                    if now - saved > CHECKPOINT_SECONDS:
                        self._save(frames, validation, shown)
                        saved = now
                    if now - began > self.settings.stop_after_s:
                        self._save(frames, validation, shown)
                        return self.weights
            self._save(frames, validation, shown)
        return self.weights

    @property
    def weights(self) -> Path:
        """Where the averaged weights go."""
        return self.settings.folder / f"{self.recipe.variant}.safetensors"

    def _train_step(self, batch: dict[str, Tensor]) -> dict[str, float]:
        stage = self.recipe.stage_at(self.step)
        batch = {k: v.to(self.device, non_blocking=True) for k, v in batch.items()}
        image = batch["image"].contiguous(memory_format=torch.channels_last)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step)
        self.network.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.bf16):
            outputs = self.network(image)
        cells = -(-stage.crop_px // 32)
        losses = compute_losses(outputs, batch, self.layer, (cells, cells), self.network.extract.depth_bins)
        total = losses.total(self.recipe.losses)
        if not torch.isfinite(total):
            raise UserError(self._keep_batch(batch))
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        self.average.update(self.network, self.recipe.step_in_stage(self.step))
        self.step += 1
        return {
            "loss": float(total.detach()),
            "mesh_mm": float(losses.mesh_joint_mm),
            "image_pct": float(losses.image_joint_percent),
            **{k: float(v.detach()) for k, v in losses.terms.items() if k in ("relative_translation", "presence")},
        }

    def _keep_batch(self, batch: dict[str, Tensor]) -> str:
        path = self.settings.folder / f"not_finite_step{self.step}.pt"
        torch.save(batch, path)
        return (
            f"the loss is not finite at step {self.step}; the batch is kept in {path}, the last checkpoint is untouched"
        )

    def _stage_end(self) -> int:
        end = 0
        for stage in self.recipe.stages:
            end += stage.steps
            if self.step < end:
                break
        return end

    def _samples_before(self, step: int) -> int:
        samples = 0
        for stage in self.recipe.stages:
            samples += min(step, stage.steps) * stage.batch
            step = max(0, step - stage.steps)
        return samples

    def _loader(self, frames: Frames, steps: int) -> DataLoader[dict[str, Tensor]]:
        stage = self.recipe.stage_at(self.step)
        dataset = HandDataset(frames, stage.crop_px, self.recipe.augment, self.recipe.seed)
        start = self._samples_before(self.step)
        sampler = StepSampler(len(frames), stage.batch, start, steps, self.recipe.seed)
        workers = self.settings.workers
        return DataLoader(
            dataset,
            batch_sampler=sampler,
            num_workers=workers,
            worker_init_fn=start_worker,
            pin_memory=self.device.type == "cuda",
            prefetch_factor=4 if workers else None,
            # Not forked: a process that has run OpenCV's or OpenMP's threads has children that wait for them for ever.
            multiprocessing_context="spawn" if workers else None,
        )

    def _frames(self, split: str, count: int) -> Frames:
        """The synthetic split as far as asked for; a real train split whole."""
        whole = self.settings.data != SYNTHETIC and split == "train"
        return open_frames(self.settings.data, split, self.hands, None if whole else count)

    def _save(self, frames: Frames, validation: Frames, shown: dict[str, float]) -> None:
        """Checkpoint, averaged weights, and a line of the log with the accuracy on the validation split."""
        average = build(self.recipe.variant)
        average.load_state_dict(self.average.state)
        average.eval()
        predict = network_predictor(average, self.hands)
        crop_px = self.recipe.stage_at(self.step - 1).crop_px
        accuracy = evaluate(predict, validation, crop_px, self.hands, "validation").accuracy(dataset_label(validation))
        facts = WeightFacts(
            variant=self.recipe.variant,
            hand_model={"name": self.hands[0].name, "sha256": self.hands[0].sha256},
            dataset=frames.name,
            synthetic=frames.synthetic,
            steps=self.step,
            samples=self._samples_before(self.step),
            seed=self.recipe.seed,
        )
        save_weights(self.weights, average.state_dict(), facts)
        state: dict[str, Any] = {
            "step": self.step,
            "recipe": recipe_digest(self.recipe),
            "network": self.network.state_dict(),
            "average": self.average.state,
            "optimizer": self.optimizer.state_dict(),
        }
        with atomic_path(self.checkpoint) as temporary:
            torch.save(state, temporary)
        row = {
            "step": self.step,
            "samples": facts.samples,
            "crop_px": crop_px,
            **{k: round(v, 5) for k, v in shown.items()},
            "val_mpjpe_mm": round(accuracy.mpjpe_mm, 3),
            "val_mrrpe_mm": round(accuracy.mrrpe_mm, 3),
            "val_presence": round(accuracy.presence_accuracy, 4),
            "dataset": accuracy.dataset,
        }
        log = self.settings.folder / "log.csv"
        new = not log.is_file()
        with log.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)
        tqdm.write(", ".join(f"{k} {v}" for k, v in row.items()))

    def _resume(self) -> None:
        try:
            state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        except Exception as error:
            raise UserError(
                f"{self.checkpoint} cannot be read ({type(error).__name__}): remove it to start again"
            ) from error
        if state["recipe"] != recipe_digest(self.recipe):
            raise UserError(
                f"{self.checkpoint} belongs to another recipe: give another --run-dir, or remove it to start again"
            )
        self.network.load_state_dict(state["network"])
        self.average.state = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]


def parameter_groups(network: ERNet, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices and kernels only."""
    matrices = [p for p in network.parameters() if p.dim() > 1]
    vectors = [p for p in network.parameters() if p.dim() <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then a cosine down to the final rate."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    wave = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return recipe.final_learning_rate + (recipe.learning_rate - recipe.final_learning_rate) * wave


def recipe_digest(recipe: Recipe) -> str:
    """What a checkpoint remembers of its recipe."""
    return hashlib.sha256(repr(sorted(asdict(recipe).items())).encode()).hexdigest()


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and train."""
    parser = CommandParser(__doc__)
    parser.add_argument("--variant", help="train by this variant's own recipe")
    parser.add_argument("--recipe", type=Path, help="a recipe file instead")
    parser.add_argument("--data", default=SYNTHETIC, help="'synthetic' or a folder in InterHand2.6M's layout")
    parser.add_argument("--images", type=int, help="size of the synthetic train split; default: the recipe's")
    parser.add_argument("--init", type=Path, help="start from these weights of the same variant")
    parser.add_argument("--hand-model", type=Path, help="a hand model .npz; default: the embedded one")
    parser.add_argument("--run-dir", type=Path, help="default: a folder of the cache, named after the variant")
    parser.add_argument("--seed", type=int, help="default: the recipe's")
    parser.add_argument("--threads", type=int, help="of the training process; default: torch's choice")
    parser.add_argument("--workers", type=int, default=1, help="processes that load images")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so long, with a checkpoint")
    args = parser.parse_args(arguments)
    if (args.variant is None) == (args.recipe is None):
        raise UserError("give either --variant NAME or --recipe FILE")
    recipe = read_recipe(args.recipe or default_recipe_path(args.variant))
    changes = {key: getattr(args, key) for key in ("images", "seed") if getattr(args, key) is not None}
    recipe = replace(recipe, **changes)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    folder = args.run_dir or cache_dir() / "runs" / recipe.variant
    settings = RunSettings(folder, args.data, args.init, args.hand_model, args.workers, args.minutes * 60)
    print(f"weights: {Trainer(recipe, settings).run()}")
    return 0


if __name__ == "__main__":
    run_command(main)
