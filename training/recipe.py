"""A training recipe: stages of growing crop size, read from TOML."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from runtime.errors import UserError
from training.data.augment import AugmentSpec
from training.losses import LossWeights
from training.network import get_variant
from training.typed_tables import BadTable, structure

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent / "recipes"
TERMS = ("joints", "vertices", "joints_image", "heatmap")
# What recipes of before may hold; `draws` came with stored outputs.
GONE_TABLES, GONE_KEYS = {"qat"}, {"rotations", "relative_translation", "presence", "features", "relational", "draws"}


@dataclass(frozen=True)
class DistillSpec:
    """The `[distill]` table of a recipe. A term of weight 0 is off and costs nothing."""

    teacher: str  # a variant, or a weight file
    labels: float = 1.0  # weight of the labels' loss
    joints: float = 0.0  # of the mesh, wrist-relative, m
    vertices: float = 0.0  # wrist-relative, m
    joints_image: float = 0.0  # 2.5D joints, cells of an 8 x 8 x 8 map
    heatmap: float = 0.0  # nats
    temperature: float = 1.0  # of the heat maps
    ramp_steps: int = 0  # the terms' weights grow linearly over so many steps
    bf16: bool = False  # the teacher computes in bfloat16, whatever the student does

    @property
    def weights(self) -> dict[str, float]:
        """Of the terms that are on."""
        return {term: getattr(self, term) for term in TERMS if getattr(self, term) > 0}

    def problem(self) -> str | None:
        """What is wrong with the numbers, or None."""
        for name in ("labels", *TERMS, "ramp_steps"):
            if not 0 <= getattr(self, name) < float("inf"):
                return f"'{name}' must be 0 or more"
        if not 0 < self.temperature < float("inf"):
            return "'temperature' must be above 0"
        if not self.weights:
            return f"no term has a weight: give one of {', '.join(TERMS)}"
        return None


@dataclass(frozen=True)
class Stage:
    """Training at one crop size: small crops first, the variant's own size last; so many steps, or epochs."""

    crop_px: int
    batch: int
    steps: int = 0
    epochs: float = 0.0  # become steps where the number of images is known
    # Where the rate starts again, for a network that has to learn its larger windows; None: it goes on falling.
    learning_rate: float | None = None


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what comes out of a training run, beside the data."""

    variant: str
    stages: tuple[Stage, ...]
    images: int = 28000  # of the synthetic train split; a real data set is used whole
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    drops: tuple[float, ...] = ()  # shares of the run after which the rate is a tenth; none: a cosine to the final rate
    warmup_steps: int = 500
    weight_decay: float = 0.05
    clip_norm: float = 5.0
    ema_decay: float = 0.999
    seed: int = 0
    bf16: bool = False
    losses: LossWeights = field(default_factory=LossWeights)
    augment: AugmentSpec = field(default_factory=AugmentSpec)
    distill: DistillSpec | None = None  # train.py leaves it out

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(stage.steps for stage in self.stages)

    @property
    def samples(self) -> int:
        """Seen over all stages."""
        return sum(stage.steps * stage.batch for stage in self.stages)

    def for_images(self, count: int) -> Recipe:
        """The recipe for so many images: epochs become steps."""
        steps = [stage.steps or math.ceil(stage.epochs * count / stage.batch) for stage in self.stages]
        stages = (replace(stage, steps=n, epochs=0.0) for stage, n in zip(self.stages, steps, strict=True))
        return replace(self, images=count, stages=tuple(stages))

    def with_batch(self, batch: int) -> Recipe:
        """As many samples in batches of another size, the rates in proportion."""
        if batch < 1:
            raise UserError("--batch must be 1 or more")
        share = batch / self.stages[0].batch
        stages = []
        for stage in self.stages:
            steps = math.ceil(stage.steps * stage.batch / batch)
            rate = None if stage.learning_rate is None else stage.learning_rate * batch / stage.batch
            stages.append(replace(stage, batch=batch, steps=steps, learning_rate=rate))
        rates = {name: getattr(self, name) * share for name in ("learning_rate", "final_learning_rate")}
        return replace(self, stages=tuple(stages), **rates)

    def place(self, step: int) -> tuple[Stage, int, int]:
        """The stage of a step, the steps of it that come before, and all samples before; the last stage's end after."""
        samples = 0
        for stage in self.stages:
            if step < stage.steps or stage is self.stages[-1]:
                break
            samples += stage.steps * stage.batch
            step -= stage.steps
        return stage, step, samples + step * stage.batch

    def rate_at(self, step: int) -> float:
        """Linear warm-up, then a cosine down to the final rate, anew where a stage has a rate of its own; or drops."""
        begin, end, peak, warmup = 0, self.steps, self.learning_rate, self.warmup_steps
        position = 0
        for stage in self.stages:
            if stage.learning_rate is not None:
                if step < position:
                    end = position
                    break
                begin, peak = position, stage.learning_rate
                warmup = min(self.warmup_steps, stage.steps // 10)
            position += stage.steps
        if step - begin < warmup:
            return peak * (step - begin + 1) / warmup
        if self.drops:
            return peak * 0.1 ** sum(step >= share * self.steps for share in self.drops)
        progress = (step - begin - warmup) / max(1, end - begin - warmup)
        wave = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return self.final_learning_rate + (peak - self.final_learning_rate) * wave


def default_recipe_path(variant: str) -> Path:
    """The recipe that comes with the project."""
    get_variant(variant)
    path = FOLDER / f"{variant}.toml"
    if not path.is_file():
        raise UserError(f"no recipe comes with '{variant}': write one like {FOLDER / 'er-s.toml'}, give --recipe FILE")
    return path


def read_recipe(path: Path) -> Recipe:
    """Read a recipe. Unknown keys, wrong types and values out of range are a UserError that names the key."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        distill = content.get("distill")
        table = distill if isinstance(distill, dict) else {}
        if gone := sorted((GONE_TABLES & content.keys()) | (GONE_KEYS & table.keys())):
            print(f"{path}: left out, as they are gone: {', '.join(gone)}", file=sys.stderr)
            for key in gone:
                content.pop(key, None)
                table.pop(key, None)
        recipe = structure(Recipe, content)
    except OSError as error:
        raise UserError(f"cannot read the recipe {path}: {error.strerror}") from error
    except BadTable as error:
        raise UserError(f"{path}: {error}") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid TOML: {error}") from error
    get_variant(recipe.variant)
    if not recipe.stages:
        raise UserError(f"{path}: a recipe needs at least one [[stages]] with crop_px, batch and steps or epochs")
    if any(stage.crop_px < 64 or stage.batch < 1 for stage in recipe.stages):
        raise UserError(f"{path}: a stage needs a crop_px of at least 64 and a batch of at least 1")
    if any(stage.steps < 0 or stage.epochs < 0 or (stage.steps > 0) == (stage.epochs > 0) for stage in recipe.stages):
        raise UserError(f"{path}: a stage needs either steps or epochs, of at least 1")
    if recipe.distill is not None and (fault := recipe.distill.problem()):
        raise UserError(f"{path}: distill: {fault}")
    return recipe
