"""Which terms a distillation has, and their weights: the `[distill]` table of a recipe."""

from __future__ import annotations

from dataclasses import asdict, dataclass

TERMS = ("joints", "vertices", "joints_image", "heatmap")
GONE_TERMS = {"rotations", "relative_translation", "presence", "features", "relational"}  # older recipes have them


@dataclass(frozen=True)
class DistillSpec:
    """The `[distill]` table of a recipe. A term of weight 0 is off and costs nothing."""

    teacher: str  # a variant, or a weight or ONNX file
    labels: float = 1.0  # weight of the labels' loss
    joints: float = 0.0  # of the mesh, wrist-relative, m
    vertices: float = 0.0  # wrist-relative, m
    joints_image: float = 0.0  # 2.5D joints, cells of an 8 x 8 x 8 map
    heatmap: float = 0.0  # nats
    temperature: float = 1.0  # of the heat maps
    ramp_steps: int = 0  # the terms' weights grow linearly over so many steps
    draws: int = 0  # augmentations per image, repeated in turn; 0: a new one every epoch
    bf16: bool = False  # the teacher computes in bfloat16, whatever the student does

    @property
    def weights(self) -> dict[str, float]:
        """Of the terms that are on."""
        values = asdict(self)
        return {term: values[term] for term in TERMS if values[term] > 0}

    def problem(self) -> str | None:
        """What is wrong with the numbers, or None."""
        values = asdict(self)
        for name in ("labels", *TERMS, "ramp_steps", "draws"):
            if not 0 <= values[name] < float("inf"):
                return f"'{name}' must be 0 or more"
        if not 0 < self.temperature < float("inf"):
            return "'temperature' must be above 0"
        if not self.weights:
            return f"no term has a weight: give one of {', '.join(TERMS)}"
        return None
