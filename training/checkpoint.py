"""Weights on disk: safetensors with the facts that belong to them in the header."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from runtime.errors import UserError
from runtime.files import atomic_path
from training.network import ERNet, build, get_variant

MAX_WEIGHT_BYTES = 2 << 30
SHIPPED = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class WeightFacts:
    """What weights were trained on; rides in the file's header under `er_edge`."""

    variant: str
    hand_model: dict[str, str]  # name, sha256
    dataset: str
    synthetic: bool
    steps: int
    samples: int
    seed: int


def shipped_weights(variant: str) -> Path | None:
    """The file of weights that come with the project, or None."""
    path = SHIPPED / f"{variant}.safetensors"
    return path if path.is_file() else None


def save_weights(path: Path, state: dict[str, Tensor], facts: WeightFacts) -> None:
    """Write matrices and kernels as fp16, vectors (norms, biases, running variances) as fp32; atomically."""
    from safetensors.torch import save_file

    stored = {
        k: (v.half() if v.dim() > 1 else v.float()).contiguous() for k, v in state.items() if v.is_floating_point()
    }
    with atomic_path(path) as temporary:
        save_file(stored, temporary, metadata={"er_edge": json.dumps(asdict(facts))})


def read_facts(path: Path) -> WeightFacts:
    """The facts in a weight file's header; a UserError where it is not one of this project's."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UserError(f"no checkpoint at {path}" + (": it is a directory" if path.is_dir() else ""))
    if path.stat().st_size > MAX_WEIGHT_BYTES:
        raise UserError(f"{path} is too large for a checkpoint of this project")
    try:
        with safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get("er_edge")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}): copy or download it again") from error
    if header is None:
        raise UserError(f"{path} was not written by this project's training (no 'er_edge' in its header)")
    try:
        return WeightFacts(**json.loads(header))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: header cannot be read ({error})") from error


def load_network(path: Path, variant: str) -> tuple[ERNet, WeightFacts]:
    """The network of `variant` with the weights of `path`, in eval mode, and their facts.

    Raises UserError for a missing or truncated file, another variant's weights, missing or non-finite tensors.
    """
    from safetensors.torch import load_file

    get_variant(variant)
    facts = read_facts(path)
    if facts.variant != variant:
        raise UserError(
            f"{path} holds weights of '{facts.variant}', not of '{variant}': give --variant {facts.variant}"
        )
    network = build(variant)
    stored = {name: tensor.float() for name, tensor in load_file(path).items()}
    own = {k: v.shape for k, v in network.state_dict().items() if v.is_floating_point()}
    if {k: v.shape for k, v in stored.items()} != own:
        odd = sorted(set(stored) ^ set(own)) or [k for k in own if own[k] != stored[k].shape]
        raise UserError(f"{path} does not fit '{variant}' of this version (first difference: {odd[0]})")
    for name, tensor in stored.items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"{path}: {name} is not finite; this checkpoint is broken")
    network.load_state_dict(stored, strict=False)  # integer buffers (batch counters) are not stored
    return network.eval(), facts


def weights_of(variant: str) -> Path:
    """The weights that come with the project; a UserError where there are none."""
    get_variant(variant)
    path = shipped_weights(variant)
    if path is None:
        raise UserError(f"no weights come with '{variant}': train it (training/train.py) and give --checkpoint FILE")
    return path
