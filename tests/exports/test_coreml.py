"""Every variant as a Core ML package, fp16 and with int8 weights: converted, evaluated, compared with torch, weighed.

Variants without shipped weights are random: their programs are the same, what they find in a picture means nothing.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.devices.shipped_crops import COUNT, shipped_crops
from compress.coreml.convert import write_package
from compress.coreml.coreml_format import check_package
from compress.coreml.package import size_bytes
from runtime.hand.hand_model import load_hand_models
from tests.fixtures.variant_files import load_variant, write_float
from training.checkpoint import shipped_weights
from training.network import VARIANTS

pytest.importorskip("coremltools")
pytestmark = pytest.mark.slow

W8_SHARE = 0.30  # of the fp32 ONNX file, at most
CROPS_OF_RANDOM = 8  # large networks take seconds for each


@pytest.mark.parametrize("variant", VARIANTS)
def test_converts_and_agrees(variant: str, tmp_path: Path) -> None:
    network = load_variant(variant)
    onnx_file = tmp_path / "fp32.onnx"
    write_float(variant, onnx_file)
    random = shipped_weights(variant) is None
    crops = shipped_crops(network.variant.crop_px)[: CROPS_OF_RANDOM if random else COUNT]
    for precision, share in (("fp16", 0.60), ("w8", W8_SHARE)):
        path = tmp_path / f"{precision}.mlpackage"
        write_package(network, path, precision)
        size, whole = size_bytes(path), onnx_file.stat().st_size
        assert size <= share * whole
        parity = check_package(network, path, precision, crops, load_hand_models())
        assert parity.reasons == ()
        assert parity.n_images == len(crops)
        assert parity.fp32 is not None and parity.fp16 is not None
        print(
            f"\n{variant} {precision}: {size} bytes, {size / whole:.3f} of fp32 ONNX; "
            f"fp32 {parity.fp32.vertex_mm:.4f} mm, fp16 {parity.fp16.present_hand_mm:.3f} mm"
        )
