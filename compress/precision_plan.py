"""What of a network stays in float: a small JSON that a search wrote, to be committed and used again (`--plan`).

Blocks are named parts of a network; a plan says which of them stay float, for exactly one graph.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_origin, get_type_hints

from compress.onnx.calibration import graph_sha256
from compress.onnx.quantize import QuantizedNodes, select_nodes
from runtime.errors import UserError
from runtime.files import write_text_atomic
from training.quantisation.int8_rules import module_path

if TYPE_CHECKING:
    from onnx import ModelProto

T = TypeVar("T")
SCHEMA_VERSION = 1
MAX_BYTES = 1 << 20
# A module belongs to the block of the first pattern that its path begins with; the hands' twins are one block.
_BLOCKS = (
    r"backbone\.layers\.\d+\.blocks\.\d+",
    r"backbone\.layers\.\d+\.downsample",
    r"backbone\.layer\d+\.\d+",
    r"backbone\.layers\.\d+",
    r"backbone\.[a-z_]+",
    r"extract\.(?:desim|deocc)\.\w+",
    r"regress\.pose\.\d+\.(?:reduce|mlp\.\d)",
    r"regress\.hand\.\d+\.mlp\.\d",
    r"regress\.\w+\.\w+",
    r"[a-z_]+\.\w+",
)


@dataclass(frozen=True)
class Sensitivity:
    """Of one block: what it does when it alone is int8."""

    block: str
    nodes: int
    lost_mm: float  # MPJPE
    saved_ms: float  # of the fp32 file's latency


@dataclass(frozen=True)
class Plan:
    """Which blocks of one graph stay float, and what was measured to find that out."""

    variant: str
    graph_sha256: str  # of the fp32 graph
    flavour: str
    keep_float: tuple[str, ...]  # blocks
    dataset: str  # with "(synthetic)" where it is
    n_images: int
    max_drop_mm: float  # that was allowed
    lost_mm: float  # by the plan as a whole
    times_faster: float  # than fp32, on the machine it was found on
    machine: str
    sensitivities: tuple[Sensitivity, ...]


def block_of(node: str) -> str:
    """The block that an ONNX node belongs to: '/regress/pose.0/mlp/mlp.2/Gemm' -> 'regress.pose.mlp.2'."""
    path = module_path(node)
    for pattern in _BLOCKS:
        if found := re.match(pattern, path):
            return re.sub(r"^regress\.(pose|hand)\.\d+\.", r"regress.\1.", found.group())
    return path


def blocks_of(model: ModelProto) -> dict[str, tuple[str, ...]]:
    """Quantisable nodes by block, in the graph's order."""
    blocks: dict[str, list[str]] = {}
    for node in select_nodes(model, ()).quantized:
        blocks.setdefault(block_of(node), []).append(node)
    return {block: tuple(nodes) for block, nodes in blocks.items()}


def split_nodes(blocks: Mapping[str, Sequence[str]], keep_float: Iterable[str]) -> QuantizedNodes:
    """The nodes of all blocks, by whether their block stays float."""
    kept = set(keep_float)
    return QuantizedNodes(
        tuple(node for block, nodes in blocks.items() if block not in kept for node in nodes),
        tuple(node for block, nodes in blocks.items() if block in kept for node in nodes),
    )


def nodes_of(plan: Plan, model: ModelProto) -> QuantizedNodes:
    """What the plan says of a float model's nodes; a UserError where it was made for another graph."""
    blocks = blocks_of(model)
    if graph_sha256(model) != plan.graph_sha256 or not set(plan.keep_float) <= set(blocks):
        raise UserError(
            f"the plan was made for other weights of {plan.variant}: search again with python -m compress.sensitivity"
        )
    nodes = split_nodes(blocks, plan.keep_float)
    if not nodes.quantized:
        raise UserError("the plan leaves nothing to quantise: export with --fp32 instead")
    return nodes


def write_plan(path: Path, plan: Plan) -> None:
    """As JSON, atomically."""
    write_text_atomic(path, json.dumps({"schema_version": SCHEMA_VERSION, **asdict(plan)}, indent=1) + "\n")


def read_plan(path: Path, variant: str | None = None) -> Plan:
    """A plan, for this variant if one is given; a UserError for anything else."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is too large for a plan")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the plan {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a plan: {str(error).splitlines()[0]}") from error
    try:
        plan = _parse(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is not a plan of this version ({error})") from error
    if variant not in (None, plan.variant):
        raise UserError(f"{path} is a plan for '{plan.variant}', not for '{variant}'")
    return plan


def _parse(content: dict[str, Any]) -> Plan:
    values = dict(content)
    if (version := values.pop("schema_version")) != SCHEMA_VERSION:
        raise ValueError(f"schema_version {version!r}")
    values["sensitivities"] = tuple(_typed(Sensitivity, entry) for entry in values["sensitivities"])
    values["keep_float"] = tuple(values["keep_float"])
    if not all(isinstance(block, str) for block in values["keep_float"]):
        raise ValueError("keep_float must be names")
    return _typed(Plan, values)


def _typed(kind: type[T], values: dict[str, Any]) -> T:
    """A dataclass of values of its fields' types; an int does for a float."""
    for name, hint in get_type_hints(kind).items():
        expected = get_origin(hint) or hint
        fits = isinstance(values[name], (int, float) if expected is float else expected)
        if not fits or isinstance(values[name], bool):
            raise ValueError(f"{name} must be of type {expected.__name__}")
    return kind(**values)
