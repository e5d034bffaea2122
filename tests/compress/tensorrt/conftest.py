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
    "LayerType": "CaskConvolution",
    "Inputs": [{"Name": "x", "Format/Datatype": "Int8 NC/32HW32 format"}],
    "Outputs": [{"Name": "y", "Format/Datatype": "Half NC/2HW2 format"}],
    "Weights": {"Type": "Int8", "Count": 144},
    "TacticName": "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw",
}
FP16_LAYER = {
    "LayerType": "gemm",
    "Inputs": [{"Name": "x", "Format/Datatype": "Half"}],
    "Outputs": [{"Name": "y", "Format/Datatype": "Half"}],
    "TacticName": "sm80_xmma_gemm_f16f16_f16f16_f16_tn_n_tilesize32x32x64",
}
FP32_LAYER = {
    "LayerType": "kgen",
    "Inputs": [{"Name": "x", "Format/Datatype": "Float"}],
    "Outputs": [{"Name": "y", "Format/Datatype": "Float"}],
    "TacticName": "__myl_MulErfAdd_0x1234",
}
MOVE = {"LayerType": "Reformat", "Inputs": [{"Name": "x", "Format/Datatype": "Int8"}], "Outputs": []}


def small_graph(
    path: Path, precision: str = "fp32", zero_point: Any = None, bias: bool = False, flavour: str = "trt"
) -> Path:
    """Write one convolution of an 8 x 8 image with 8 channels, as float, half or with Q/DQ; not of the contract."""
    half = precision == "fp16"
    weight = np.linspace(-1, 1, 8 * 8 * 9, dtype=np.float32).reshape(8, 8, 3, 3)
    values: dict[str, Any] = {"weight": weight.astype(np.float16) if half else weight}
    inputs, nodes = ["image", "weight"], []

    def dequantized(name: str, value: Any, scale: Any, zero: Any) -> str:
        values.update({f"{name}_scale": scale, f"{name}_zero": zero} | ({} if value is None else {name: value}))
        axis = {} if value is None else {"axis": 0}
        nodes.append(
            helper.make_node("DequantizeLinear", [name, f"{name}_scale", f"{name}_zero"], [f"{name}_dq"], **axis)
        )
        return f"{name}_dq"

    if precision == "int8":
        del values["weight"]
        nodes.append(helper.make_node("QuantizeLinear", ["image", "q_scale", "q_zero"], ["q"]))
        image = dequantized("q", None, np.float32(1 / 127), np.int8(0) if zero_point is None else zero_point)
        w8, per_channel = np.round(weight * 127).astype(np.int8), np.full(8, 1 / 127, np.float32)
        inputs = [image, dequantized("w", w8, per_channel, np.zeros(8, np.int8))]
        if bias:
            inputs.append(dequantized("b", np.ones(8, np.int32), per_channel, np.zeros(8, np.int32)))
    nodes.append(helper.make_node("Conv", inputs, ["y"], pads=[1, 1, 1, 1]))
    nodes.append(helper.make_node("Relu", ["y"], ["out"]))
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    shapes = [helper.make_tensor_value_info(name, kind, [1, 8, 8, 8]) for name in ("image", "out")]
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "small", shapes[:1], shapes[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    facts = tiny_passport() | {"precision": precision, "quantisation": {"flavour": flavour}}
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(facts))
    onnx.save(model, path)
    return path


def jetson_tensorrt(monkeypatch: pytest.MonkeyPatch, layers: list[Any], version: str = "10.3.0") -> None:
    """TensorRT for RTX in the clothes of a Jetson's TensorRT: real parser and builder, but engines are not loaded."""
    trt = pytest.importorskip("tensorrt_rtx")

    def inspected(plan: bytes) -> Any:
        """What a loaded engine tells of itself."""
        inspector = SimpleNamespace(get_engine_information=lambda format: json.dumps({"Layers": layers}))
        engine = SimpleNamespace(device_memory_size_v2=123456, create_engine_inspector=lambda: inspector)
        return engine if layers else None

    members = {name: getattr(trt, name) for name in dir(trt) if not name.startswith("__")}
    runtime = SimpleNamespace(deserialize_cuda_engine=inspected)
    module = type("Module", (), members | {"__version__": version, "Runtime": lambda logger: runtime})
    install(monkeypatch, FakeGpu(), module)
