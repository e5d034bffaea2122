"""Where a file's time goes in onnxruntime, by its own profiler, added up by the network's modules."""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.candidates.engines import CPU_PROVIDER, seeded
from benchmarks.measure.graph_cost import Layer

MODULE_DEPTH = 3
WHOLE_GRAPH = "(graph)"
WARMUP_RUNS = 5
_KERNEL = "_kernel_time"


def module_of(node: str) -> str | None:
    """`/backbone/layers.1/blocks/blocks.0/attn/qkv/MatMul` -> `backbone.layers.1.blocks.0`: at most three levels.

    None for the names that onnxruntime gives to nodes of its own.
    """
    name = node.removeprefix("fused ")
    if not name.startswith("/"):
        return None
    parts: list[str] = []
    for part in name.strip("/").split("/")[:-1]:
        if re.fullmatch(r"(MatMulAddFusion|GatherSliceToSplitFusion|MatMulScaleFusion)?", part):
            continue
        if parts and part.startswith(f"{parts[-1]}."):  # a container and its numbered child
            parts.pop()
        if not part[0].isupper():  # an operator that a fusion names again
            parts.append(part)
    return ".".join(parts[:MODULE_DEPTH]) or WHOLE_GRAPH


def module_times_ms(path: Path, layers: Sequence[Layer], threads: int, runs: int) -> dict[str, float]:
    """Median over runs of the kernels' time, in the order of execution, by the module of the layer they belong to."""
    events = profile(path, threads, runs)
    module_of_node = {name: module_of(layer.name) for layer in layers for name in layer.nodes}

    @cache
    def module_of_event(name: str) -> str | None:
        """Kernels carry the name of a node, before or behind what onnxruntime adds."""
        inside = [node for node in module_of_node if name.removeprefix("fused ").startswith(node)]
        return module_of_node[max(inside, key=len)] if inside else module_of(name)

    per_run: list[dict[str, float]] = []
    seen: set[str] = set()
    current = WHOLE_GRAPH
    for event in events:
        name = event["name"][: -len(_KERNEL)]
        if not per_run or name in seen:  # every node runs once a frame
            per_run.append(defaultdict(float))
            seen, current = set(), WHOLE_GRAPH
        seen.add(name)
        current = module_of_event(name) or current  # what onnxruntime adds belongs to what it stands behind
        per_run[-1][current] += event["dur"] / 1e3
    counted = per_run[WARMUP_RUNS:]
    return {module: median(times.get(module, 0.0) for times in counted) for module in counted[-1]}


def profile(path: Path, threads: int, runs: int) -> list[dict[str, Any]]:
    """The kernels' events of all runs, the warm-up's first, as onnxruntime writes them (dur in us)."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(str(path), options, providers=[CPU_PROVIDER])
        feed = {node.name: seeded(node.shape, node.type) for node in session.get_inputs()}
        for _ in range(WARMUP_RUNS + runs):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text())
    return [event for event in events if event.get("cat") == "Node" and event["name"].endswith(_KERNEL)]
