"""Precision of layers: of a parsed graph, of a built engine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from compress.tensorrt.engine_file import engine_layers, layer_precision
from runtime.errors import UserError
from tests.compress.tensorrt.conftest import FP16_LAYER, FP32_LAYER, INT8_LAYER, MOVE


def without(layer: dict[str, Any], *keys: str, **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in (layer | changes).items() if key not in keys}


@pytest.mark.parametrize(
    ("layer", "precision"),
    [
        (INT8_LAYER, "int8"),
        (FP16_LAYER, "fp16"),
        (FP32_LAYER, "fp32"),
        (MOVE, None),
        # int8 in and out, but the product is a float one: weights and kernel say so
        (without(INT8_LAYER, Weights={"Type": "Float"}, TacticName="f32f32_tf32f32"), "fp32"),
        (without(INT8_LAYER, "Weights", TacticName="sm80_xmma_fprop_f16f16_f16"), "fp16"),
        (without(INT8_LAYER, "Weights"), "int8"),
        (without(INT8_LAYER, "Weights", "TacticName"), "int8"),
        (without(FP16_LAYER, "TacticName", Inputs=[{"Format/Datatype": "Row major linear FP16 format"}]), "fp16"),
        (without(FP32_LAYER, "TacticName", "Inputs", "Outputs"), None),
        ({"LayerType": "Constant", "Outputs": [{"Format/Datatype": "Half"}]}, None),
        ({}, None),
    ],
)
def test_the_product_counts_not_the_tensors_around_it(layer: dict[str, Any], precision: str | None) -> None:
    assert layer_precision(layer) == precision


def test_an_engine_is_counted_without_what_moves_data() -> None:
    layers = [INT8_LAYER, INT8_LAYER, FP16_LAYER, FP32_LAYER, MOVE]
    assert engine_layers(json.dumps({"Layers": layers}), "int8") == {"int8": 2, "fp16": 1, "fp32": 1}


@pytest.mark.parametrize("text", ["{", '{"Layers": 3}', '{"Layers": ["conv", "relu"]}'])
def test_what_is_no_list_of_layers(text: str) -> None:
    with pytest.raises(UserError, match="does not describe layers"):
        engine_layers(text, "int8")
