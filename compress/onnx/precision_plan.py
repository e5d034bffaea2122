"""What of a network stays in float: a small JSON that a search wrote, to be committed and used again (`--plan`).

Blocks are named parts of a network; a plan says which of them stay float, for exactly one graph.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from compress.onnx.calibration import graph_sha256
from compress.onnx.quantize import QuantizedNodes, module_path, select_nodes, weighted_nodes
from runtime.errors import UserError
from training.typed_tables import structure

if TYPE_CHECKING:
    from onnx import ModelProto

MAX_CHARACTERS = 1 << 20
# A module belongs to the block of the first pattern that its path begins with; the hands' twins are one block.
_BLOCKS = (
    r"backbone\.layers\.\d+\.blocks\.\d+",
    r"backbone\.layers\.\d+\.downsample",
    r"backbone\.layer\d+\.\d+",
    r"backbone\.layers\.\d+",
    r"backbone\.[a-z_]+",
    r"extract\.(?:desim|deocc)\.\w+",
    r"regress\.pose\.(?:\d+\.)?(?:reduce|mlp\.\d)",
    r"regress\.hand\.\d+\.mlp\.\d",
    r"regress\.\w+\.\w+",
    r"[a-z_]+\.\w+",
)


@dataclass(frozen=True)
class Sensitivity:
    """Of one block: what it does when it alone is int8."""

    block: str
    nodes: int
    apart_mm: float  # mean distance of the vertices from the fp32 file's
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
    schema_version: Literal[2] = 2


def block_of(node: str) -> str:
    """The block that an ONNX node belongs to: '/regress/pose.0/mlp/mlp.2/Gemm' -> 'regress.pose.mlp.2'."""
    path = module_path(node)
    found = next(filter(None, (re.match(pattern, path) for pattern in _BLOCKS)), None)
    return re.sub(r"^regress\.(pose|hand)\.\d+\.", r"regress.\1.", found.group() if found else path)


def blocks_of(model: ModelProto) -> Counter[str]:
    """How many quantisable nodes each block has, in the graph's order."""
    return Counter(map(block_of, weighted_nodes(model)))


def split_nodes(model: ModelProto, keep_float: Container[str]) -> QuantizedNodes:
    """The quantisable nodes, by whether their block stays float."""
    nodes = weighted_nodes(model)
    kept = tuple(node for node in nodes if block_of(node) in keep_float)
    return QuantizedNodes(tuple(node for node in nodes if node not in kept), kept)


def choose_nodes(model: ModelProto, plan: Path | None, variant: str, flavour: str) -> QuantizedNodes:
    """What of a float model is quantised: as the plan of this variant says, or by the rule for all of this flavour."""
    if plan is None:
        return select_nodes(model, flavour)
    return nodes_of(read_plan(plan, variant, "trt" if flavour == "trt" else "cpu"), model)


def nodes_of(plan: Plan, model: ModelProto) -> QuantizedNodes:
    """What the plan says of a float model's nodes; a UserError where it was made for another graph."""
    if graph_sha256(model) != plan.graph_sha256 or not set(plan.keep_float) <= set(blocks_of(model)):
        raise UserError(f"the plan is for other weights of {plan.variant}: run python -m compress.sensitivity again")
    nodes = split_nodes(model, plan.keep_float)
    if not nodes.quantized:
        raise UserError("the plan leaves nothing to quantise: export with --fp32 instead")
    return nodes


def read_plan(path: Path, variant: str, flavour: str = "cpu") -> Plan:
    """A plan for this variant and flavour; a UserError for anything else."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(MAX_CHARACTERS + 1)
        if len(text) > MAX_CHARACTERS:
            raise UserError(f"{path} is too large for a plan")
        plan = structure(Plan, json.loads(text))
    except OSError as error:
        raise UserError(f"cannot read the plan {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a plan of this version: python -m compress.sensitivity writes them") from error
    if variant != plan.variant:
        raise UserError(f"{path} is a plan for '{plan.variant}', not for '{variant}'")
    if plan.flavour != flavour:
        raise UserError(f"{path} was made for flavour {plan.flavour}, the target takes {flavour}")
    return plan
