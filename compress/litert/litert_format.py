"""LiteRT models of an export: converted from the network, proven and measured by LiteRT's interpreter."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from compress.artefact import Artefact
from compress.check.parity import prove
from compress.litert.convert import write_float
from compress.litert.quantize import halve, quantize
from compress.material import Material
from compress.onnx.graph import load_float
from compress.onnx.precision_plan import choose_nodes
from runtime.backends.contract import METADATA_KEY
from runtime.backends.opening import open_backend
from runtime.files import file_sha256
from training.evaluation.predictions import Predictor, file_predictor

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
    left = leaves_gpu(path)
    note = ", ".join(f"{count} {name}" for name, count in left.items()) or "no operator"
    details = {"converter": converter, "leaves_gpu": left, "notes": [f"{note} is known to leave a phone's GPU"]}
    return prove(replace(artefact, details=details), open_backend(path, "cpu").run, material)


def open_predictor(artefact: Artefact, material: Material) -> Predictor:
    """The model in the runner, by LiteRT."""
    return file_predictor(artefact.path, material.request.hand_model)[0]


def embed(artefact: Artefact, facts: dict[str, Any]) -> dict[str, Any]:
    """Into the model's metadata."""
    _embed(artefact.path, facts)
    return {"sha256": file_sha256(artefact.path)}


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
    nodes = choose_nodes(load_float(source), request.plan, request.variant, str(artefact.flavour))
    quantize(artefact.path, nodes, crops, request.calib_method)
    done = {"quantizer": "ai-edge-quantizer", "weight_bits": 8, **asdict(nodes)}
    return replace(artefact, quantisation=done, calibration=material.calibration_facts)


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
