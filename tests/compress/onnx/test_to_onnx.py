"""The graph an export writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto

from compress.check.parity import check_parity
from compress.onnx.to_onnx import OPSET, write_onnx
from runtime.backends.contract import OUTPUT_SHAPES
from runtime.hand.hand_model import load_hand_models
from training.network import ERNet, build

# Absent from old TensorRT, off the Neural Engine, or not static.
FORBIDDEN = {"GridSample", "Einsum", "ScatterND", "ScatterElements", "If", "Loop", "NonZero", "Where", "Shape", "Cast"}


@pytest.fixture(scope="module", params=["er-nano", "er-xs", "er-s"])
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ERNet, Path, ModelProto]:
    torch.manual_seed(0)
    network = build(request.param).eval()
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    write_onnx(network, path)
    return network, path, onnx.shape_inference.infer_shapes(onnx.load(path))


def test_contract(exported: tuple[ERNet, Path, ModelProto]) -> None:
    network, _, model = exported
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    (image,) = model.graph.input
    size = network.variant.crop_px
    assert image.name == "image" and [d.dim_value for d in image.type.tensor_type.shape.dim] == [1, 3, size, size]
    shapes = {o.name: tuple(d.dim_value for d in o.type.tensor_type.shape.dim) for o in model.graph.output}
    assert shapes == OUTPUT_SHAPES


def test_rules_of_small_devices(exported: tuple[ERNet, Path, ModelProto]) -> None:
    _, _, model = exported
    assert not {node.op_type for node in model.graph.node} & FORBIDDEN
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    shapes = [value.type.tensor_type.shape.dim for value in model.graph.value_info]
    assert max(map(len, shapes)) <= 4 and all(dim.HasField("dim_value") for shape in shapes for dim in shape)
    epsilons = [
        a.f for n in model.graph.node if n.op_type == "LayerNormalization" for a in n.attribute if a.name == "epsilon"
    ]
    assert epsilons and min(epsilons) >= 0.99e-4


def test_parity_is_with_this_network_alone(exported: tuple[ERNet, Path, ModelProto]) -> None:
    network, path, _ = exported
    size, hands = network.variant.crop_px, load_hand_models()
    crops = np.random.default_rng(1).integers(0, 256, (3, size, size, 3), np.uint8)
    parity = check_parity(network, path, crops, hands)
    assert parity.passed and parity.n_images == 3
    torch.manual_seed(1)
    assert not check_parity(build(network.variant.name).eval(), path, crops[:1], hands).passed
