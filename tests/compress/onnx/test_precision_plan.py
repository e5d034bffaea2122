"""Plans: blocks, the file, and which of them are refused."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from compress.onnx.calibration import graph_sha256
from compress.onnx.precision_plan import Plan, Sensitivity, block_of, blocks_of, nodes_of, read_plan
from compress.onnx.quantize import weighted_nodes
from compress.sensitivity import Trial, main, search
from runtime.errors import UserError

PLAN = Plan(
    "er-nano",
    "0" * 64,
    "cpu",
    ("regress.pose.mlp.2",),
    "made (synthetic)",
    10,
    0.2,
    0.1,
    1.5,
    "a CPU",
    (Sensitivity("regress.pose.mlp.2", 2, 0.3, 0.01), Sensitivity("regress.fuseformer.block", 5, -0.01, 0.2)),
)


def test_blocks_hold_every_node_once(nano: Path) -> None:
    model = onnx.load(nano)
    blocks = blocks_of(model)
    assert sum(blocks.values()) == len(weighted_nodes(model))
    assert 20 < len(blocks) < 40
    assert blocks["regress.pose.mlp.2"] == 1 and "extract.heatmap" in blocks


@pytest.mark.parametrize(
    ("node", "block"),
    [
        ("/regress/pose.1/mlp/mlp.2/Gemm", "regress.pose.mlp.2"),
        ("/regress/pose/mlp/mlp.2/Conv", "regress.pose.mlp.2"),
        ("/backbone/layers.2/blocks/blocks.5/mlp/fc1/Gemm", "backbone.layers.2.blocks.5"),
        ("/backbone/layers/layers.12/layers/layers.1/layers.1.0/c/Conv", "backbone.layers.12"),
        ("/backbone/layer3/layer3.2/conv1/Conv", "backbone.layer3.2"),
        ("/extract/desim/block/attention/query/Gemm", "extract.desim.block"),
    ],
)
def test_names_of_blocks(node: str, block: str) -> None:
    assert block_of(node) == block


def test_there_and_back(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps(asdict(PLAN)), encoding="utf-8")
    assert read_plan(tmp_path / "p.json", "er-nano") == PLAN
    edited = "\ufeff" + (tmp_path / "p.json").read_text().replace("\n", "\r\n")  # by Windows' Notepad
    (tmp_path / "p.json").write_bytes(edited.encode())
    assert read_plan(tmp_path / "p.json", "er-nano") == PLAN


def test_what_a_plan_says_of_a_graph(nano: Path) -> None:
    model = onnx.load(nano)
    nodes = nodes_of(replace(PLAN, graph_sha256=graph_sha256(model)), model)
    assert {block_of(node) for node in nodes.kept_float} == {"regress.pose.mlp.2"}
    assert set(nodes.quantized) | set(nodes.kept_float) == set(weighted_nodes(model))
    with pytest.raises(UserError, match="other weights"):
        nodes_of(PLAN, model)
    everything = replace(PLAN, graph_sha256=graph_sha256(model), keep_float=tuple(blocks_of(model)))
    with pytest.raises(UserError, match="leaves nothing"):
        nodes_of(everything, model)


def damaged(**changes: Any) -> str:
    return json.dumps({**asdict(PLAN), **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a plan of this version"),
        ("[]", "not a plan of this version"),
        (damaged(schema_version=1), "not a plan of this version"),
        (damaged(variant="er-xs"), "a plan for 'er-xs', not for 'er-nano'"),
        (damaged(flavour="trt"), "for flavour trt, the target takes cpu"),
        (damaged(variant=3), "not a plan of this version"),
        ("[" * 100_000, "not a plan of this version"),
        (" " * (1 << 20) + "{}", "too large"),
    ],
)
def test_what_is_no_plan(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read_plan(tmp_path / "p.json", "er-nano")


# ---- the search, on made figures: a block costs mm and ms, and a conversion stands at every change of precision

BLOCKS = tuple("abcdefgh")
APART = dict(zip(BLOCKS, (0.1, 0.14, 0.70, 0.1, 0.17, 0.55, 0.14, 0.1), strict=True))  # they add up in squares
SAVED = dict(zip(BLOCKS, (1.0, 0.5, 3.0, 0.4, 2.0, -0.5, 0.2, 0.05), strict=True))


def trial(chosen: Any, conversion_ms: float = 0.1) -> Trial:
    changes = sum((a in chosen) != (b in chosen) for a, b in itertools.pairwise(BLOCKS))
    changes += (BLOCKS[0] in chosen) + (BLOCKS[-1] in chosen)
    saved = sum(SAVED[block] for block in chosen)
    return Trial(sum(APART[block] ** 2 for block in chosen), 20 / (20 - saved + conversion_ms * changes))


def alone(conversion_ms: float = 0.1) -> list[Sensitivity]:
    return [Sensitivity(b, 1, APART[b], 20 - 20 / trial(b, conversion_ms).times_faster) for b in BLOCKS]


def test_the_search_spends_its_millimetres_well() -> None:
    chosen, figures = search(alone(), trial, 0.11)
    assert figures == trial(chosen) and figures.lost_mm <= 0.11
    assert {"a", "b", "e"} <= set(chosen) and not {"c", "f"} & set(chosen)
    every = (trial([b for i, b in enumerate(BLOCKS) if mask >> i & 1]) for mask in range(1, 256))
    best = max(found.times_faster for found in every if found.lost_mm <= 0.11)
    assert figures.times_faster > 0.99 * best

    # A block whose conversions cost more than it saves is worth it between two others.
    chosen, _ = search(alone(0.25), lambda blocks: trial(blocks, 0.25), 10.0)
    assert trial("d", 0.25).times_faster < 1 and "d" in chosen
    with pytest.raises(UserError, match=r"no block can be int8 within 0\.001 mm"):
        search(alone(), trial, 0.001)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variant", "er-zz"], "unknown variant"),
        (["--variant", "er-xs", "--max-drop-mm", "nan"], "0 or more"),
    ],
)
def test_mistakes(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main(arguments)
