"""A small graph for TensorRT's parser in every precision, and a GPU that is made up."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.backends.contract import METADATA_KEY
from tests.conftest import tiny_passport
from tests.fixtures.engine_files import install
from tests.fixtures.fake_gpu import FakeGpu

INT8_LAYER = {
    "Name": "conv",
    "LayerType": "CaskConvolution",
    "Inputs": [{"Name": "x", "Format/Datatype": "Int8 NC/32HW32 format"}],
    "Outputs": [{"Name": "y", "Format/Datatype": "Half NC/2HW2 format"}],
    "Weights": {"Type": "Int8", "Count": 144},
    "TacticName": "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw",
}
FP16_LAYER = {
    "Name": "__myl_FcMul",
    "LayerType": "gemm",
    "Inputs": [{"Name": "x", "Format/Datatype": "Half"}],
    "Outputs": [{"Name": "y", "Format/Datatype": "Half"}],
    "TacticName": "sm80_xmma_gemm_f16f16_f16f16_f16_tn_n_tilesize32x32x64",
}
FP32_LAYER = {
    "Name": "gelu",
    "LayerType": "kgen",
    "Inputs": [{"Name": "x", "Format/Datatype": "Float"}],
    "Outputs": [{"Name": "y", "Format/Datatype": "Float"}],
    "TacticName": "__myl_MulErfAdd_0x1234",
}
MOVE = {
    "Name": "reformat",
    "LayerType": "Reformat",
    "Inputs": [{"Name": "x", "Format/Datatype": "Int8"}],
    "Outputs": [],
}


def small_graph(
    path: Path, precision: str = "fp32", zero_point: Any = None, bias: bool = False, flavour: str = "trt"
) -> Path:
    """Write one convolution of an 8 x 8 image with 8 channels, as float, half or with Q/DQ; not of the contract."""
    kind = TensorProto.FLOAT16 if precision == "fp16" else TensorProto.FLOAT
    values: dict[str, Any] = {}
    nodes = []
    weight = np.linspace(-1, 1, 8 * 8 * 9, dtype=np.float32).reshape(8, 8, 3, 3)
    inputs = ["image", "weight"]
    if precision == "int8":
        point = np.int8(0) if zero_point is None else zero_point
        values |= {"scale": np.float32(1 / 127), "point": point}
        nodes.append(helper.make_node("QuantizeLinear", ["image", "scale", "point"], ["q"], name="q"))
        nodes.append(helper.make_node("DequantizeLinear", ["q", "scale", "point"], ["dq"], name="dq"))
        values |= {
            "w8": np.round(weight * 127).astype(np.int8),
            "w_scale": np.full(8, 1 / 127, np.float32),
            "w_point": np.zeros(8, np.int8),
        }
        nodes.append(helper.make_node("DequantizeLinear", ["w8", "w_scale", "w_point"], ["w"], name="dw", axis=0))
        inputs = ["dq", "w"]
        if bias:
            values |= {
                "b32": np.ones(8, np.int32),
                "b_scale": np.full(8, 1e-4, np.float32),
                "b_point": np.zeros(8, np.int32),
            }
            nodes.append(helper.make_node("DequantizeLinear", ["b32", "b_scale", "b_point"], ["b"], name="db", axis=0))
            inputs.append("b")
    else:
        values["weight"] = weight.astype(np.float16 if precision == "fp16" else np.float32)
    nodes.append(helper.make_node("Conv", inputs, ["y"], name="conv", pads=[1, 1, 1, 1]))
    nodes.append(helper.make_node("Relu", ["y"], ["out"], name="relu"))
    shapes = [helper.make_tensor_value_info(name, kind, [1, 8, 8, 8]) for name in ("image", "out")]
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "small", shapes[:1], shapes[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    facts = tiny_passport() | {"precision": precision, "quantisation": {"flavour": flavour}}
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(facts))
    onnx.save(model, path)
    return path


class InspectedEngine:
    """What a loaded engine tells of itself."""

    def __init__(self, layers: list[Any]) -> None:
        self._layers = layers
        self.device_memory_size_v2 = 123456

    def create_engine_inspector(self) -> Any:
        return SimpleNamespace(
            get_engine_information=lambda format: json.dumps({"Layers": self._layers, "Bindings": []})
        )


def jetson_tensorrt(monkeypatch: pytest.MonkeyPatch, layers: list[Any], version: str = "10.3.0") -> Any:
    """TensorRT for RTX in the clothes of a Jetson's TensorRT: real parser and builder, but engines are not loaded."""
    trt = pytest.importorskip("tensorrt_rtx")

    class Runtime:
        def __init__(self, logger: Any) -> None: ...

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> InspectedEngine | None:
            return InspectedEngine(layers) if layers else None

    class Module:
        __version__ = version

        def __getattr__(self, name: str) -> Any:
            return getattr(trt, name)

    module = Module()
    module.Runtime = Runtime  # type: ignore[attr-defined]
    install(monkeypatch, FakeGpu(), module)
    return module
