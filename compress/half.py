"""fp16 ONNX: weights and activations in half precision, what overflows or rounds badly kept in fp32."""

from __future__ import annotations

from pathlib import Path

# Norms square their input (65504 is soon reached), softmax and means sum over many values.
KEEP_FP32_TYPES = ("LayerNormalization", "Softmax", "ReduceMean")


def convert_to_fp16(source: Path, target: Path) -> None:
    """Write the fp16 file of a float file; inputs and outputs stay float32."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = convert_float_to_float16(
        onnx.load(source), keep_io_types=True, op_block_list=list(KEEP_FP32_TYPES), disable_shape_infer=False
    )
    onnx.save(model, target)
