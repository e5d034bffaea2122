"""LiteRT models of an export: converted from the network, proven and measured by LiteRT's interpreter."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from compress.artefact import PARITY_FAILED, Artefact, Verdict
from compress.check.parity import compare
from compress.litert.convert import write_float
from compress.litert.quantize import METHOD, halve, quantize
from compress.material import Material
from compress.onnx.graph import load_float
from compress.onnx.precision_plan import choose_nodes
from runtime.backends.contract import METADATA_KEY
from runtime.backends.litert_engine import LiteRTBackend
from runtime.files import file_sha256
from training.evaluation.predictions import Predictor, file_predictor
from training.quantisation.int8_rules import KEEP_FLOAT

PARITY_CROPS = 64
# What LiteRT's GPU delegate has a parser for (2026-10) and networks like these may hold, in tensors up to rank 4.
GPU_OPERATORS = """ABS ADD BATCH_MATMUL CAST CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEQUANTIZE DIV EXP FULLY_CONNECTED
    GELU HARD_SWISH LOGISTIC MAXIMUM MEAN MINIMUM MUL NEG PAD QUANTIZE RELU RELU6 RESHAPE RSQRT SELECT_V2 SLICE SOFTMAX
    SPLIT SQRT SQUARED_DIFFERENCE STRIDED_SLICE SUB SUM TANH TRANSPOSE"""


def make(artefact: Artefact, material: Material, made: tuple[Artefact, ...]) -> Artefact:
    """Write the model and compare it with the network; only the fp32 one must be within the tolerance of a copy."""
    path = artefact.path
    converter = write_float(material.network, path)
    if artefact.precision == "int8":
        artefact = _quantize(artefact, made[0].path, material)
    elif artefact.precision == "fp16":
        halve(path)
    _embed(path, material.facts | {"precision": artefact.precision})
    parity = compare(
        material.network, LiteRTBackend(path, "cpu", None).run, material.test.crops[:PARITY_CROPS], material.hands
    )
    artefact = replace(
        artefact, parity=asdict(parity), details={"converter": converter, "leaves_gpu": leaves_gpu(path)}
    )
    if artefact.precision == "fp32" and not parity.passed:
        artefact = replace(artefact, verdict=Verdict(PARITY_FAILED, ("the fp32 model is not the network",)))
    return artefact


def open_predictor(artefact: Artefact, material: Material) -> Predictor:
    """The model in the runner, by LiteRT."""
    return file_predictor(artefact.path, material.request.hand_model)[0]


def write_passport(artefact: Artefact, facts: dict[str, Any]) -> Artefact:
    """Into the model's metadata and beside it."""
    path = artefact.path
    _embed(path, facts)
    size, details = path.stat().st_size, artefact.details
    details = details | {"file": path.name, "bytes": size, "sha256": file_sha256(path)}
    Path(f"{path}.json").write_text(json.dumps(facts | details, indent=2) + "\n", encoding="utf-8")
    return replace(artefact, details=details)


def describe(facts: dict[str, Any]) -> list[str]:
    """Lines for the screen, of its entry in the report."""
    if "accuracy" not in facts:
        return []
    accuracy, speed = facts["accuracy"], facts["latency_ms"]
    leaves = ", ".join(f"{count} {name}" for name, count in facts["leaves_gpu"].items()) or "no operator"
    return [
        f"  {facts['file']}, {facts['bytes'] / 1e6:.2f} MB, {facts['parity']['vertex_mm']:.4f} mm from torch (worst "
        f"vertex of {facts['parity']['n_images']} crops); {accuracy['mpjpe_mm']:.3f} mm MPJPE "
        f"({accuracy['delta_vs_fp32_mm']:+.3f}); {speed['median']:.3f} ms, "
        f"{speed['times_faster_than_fp32']['median']:.2f} times the speed of fp32 in onnxruntime",
        f"  {leaves} is known to leave a phone's GPU",
    ]


def leaves_gpu(path: Path) -> dict[str, int]:
    """How many operators of each type LiteRT's GPU delegate leaves to the CPU, as far as their type and rank tell."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(path)
    graph, left = model.subgraphs[0], []
    for operation in graph.operators:
        name = flatbuffer_utils.opcode_to_name(model, operation.opcodeIndex)
        tensors = [graph.tensors[index] for index in (*operation.inputs, *operation.outputs) if index >= 0]
        if name not in GPU_OPERATORS.split() or any(
            len(tensor.shape) > 4 for tensor in tensors if tensor.shape is not None
        ):
            left.append(name)
    return dict(Counter(left))


def _quantize(artefact: Artefact, source: Path, material: Material) -> Artefact:
    request, crops = material.request, material.calibration[1]
    keep = (*KEEP_FLOAT, *request.keep_float)
    nodes = choose_nodes(load_float(source), keep, request.plan, request.variant, "cpu")
    quantize(artefact.path, nodes, crops)
    done = {"quantizer": "ai-edge-quantizer", "keep_float": keep, "weight_bits": 8, **asdict(nodes)}
    calibration = {key: material.calibration_facts[key] for key in ("data", "n_images", "sha256")}
    return replace(artefact, quantisation=done, calibration=calibration | {"method": METHOD})


def _embed(path: Path, facts: dict[str, Any]) -> None:
    """Put the passport into the model's metadata, replacing an earlier one."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(path)
    known = {entry.name: entry for entry in model.metadata or []}
    entry = known.get(METADATA_KEY.encode())
    if entry is None:
        entry, model.metadata = schema.MetadataT(), [*known.values()]
        entry.name, entry.buffer = METADATA_KEY, len(model.buffers)
        model.metadata.append(entry)
        model.buffers.append(schema.BufferT())
    model.buffers[entry.buffer].data = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    flatbuffer_utils.write_model(model, path)
