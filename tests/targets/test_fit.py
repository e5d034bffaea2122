"""Requests that do not fit a device are refused with the reason."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from compress.onnx.flavours import FLAVOURS
from targets import TargetError, read_target, refusal
from targets.profile import Int8Flavour


@pytest.mark.parametrize(
    ("target", "request_", "reason"),
    [
        ("jetson-nano", {"precision": "int8"}, "compute capability 5.3 has no int8 path in TensorRT; it takes fp32"),
        ("jetson-nano", {"format": "tensorrt"}, "Python 3.6, this project needs 3.10: build from the ONNX file"),
        ("jetson-orin-nano", {"format": "coreml"}, "Apple's devices alone; it takes onnx, tensorrt"),
        ("jetson-orin-nano", {"feature": "w8"}, "a feature of Core ML"),
        ("apple-a11", {"feature": "w8"}, r"must run on iOS15: w8 \(int8 weights.*\) needs iOS16"),
        ("apple-a11", {"precision": "int8"}, "need iOS16"),
        ("raspberry-pi-4", {"precision": "fp16"}, "only adds conversions"),
        ("raspberry-pi-5", {"format": "tensorrt"}, "NVIDIA's GPUs alone"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(target: str, request_: dict[str, str], reason: str) -> None:
    said = refusal(read_target(target), **request_)
    assert said is not None and said.startswith(target) and "\n" not in said
    assert re.search(reason, said)


def test_flavours_are_the_exporters_own() -> None:
    assert set(get_args(Int8Flavour)) == set(FLAVOURS)


@pytest.mark.parametrize("request_", [{"format": "tflite"}, {"precision": "int4"}, {"feature": "magic"}])
def test_unknown_names_are_faults_not_refusals(request_: dict[str, str]) -> None:
    with pytest.raises(TargetError, match="there are"):
        refusal(read_target("apple-a18"), **request_)
