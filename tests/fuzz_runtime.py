"""Everything that the runtime takes from outside, fuzzed: it ends in a result or in one of the runtime's own errors.

tests/runtime/test_fuzz.py runs the targets, with a limit on the time of one input, so that a hang is seen too.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import math
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from runtime.backends.contract import OUTPUT_SHAPES, Heatmap, input_shape, parse_passport
from runtime.backends.opening import open_backend
from runtime.errors import UserError
from runtime.hand.decode import decode
from runtime.hand.hand_model import EMBEDDED_MODEL, load_hand_models, skin
from runtime.hand.hands import Hands
from runtime.hand.mesh_files import write_glb
from runtime.image.crop import Crop
from runtime.image.draw import draw_hands
from runtime.image.reading import read_image
from runtime.runner import load
from tests.conftest import resting_outputs, tiny_passport, write_tiny_model

MOST_SECONDS = 20  # for one input
LONGEST_MESSAGE = 1500


with tempfile.TemporaryDirectory() as made:
    MODEL = write_tiny_model(Path(made) / "tiny.onnx").read_bytes()
    RUNNER = load(Path(made) / "tiny.onnx", threads=1)


class Target(NamedTuple):
    """What is fuzzed: inputs, and what takes them, in a folder for files."""

    inputs: st.SearchStrategy[Any]
    take: Callable[[Any, Path], object]


NUMBERS = st.sampled_from([-0.0, 1.0, 1e-45, -1e9, 3.4e38, math.nan, math.inf, -math.inf]) | st.floats(width=64)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
PIECES = st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\x80" * 10])
MUTATIONS = st.lists(
    st.tuples(st.sampled_from(["overwrite", "insert", "cut"]), st.floats(0, 1), PIECES), min_size=1, max_size=4
)


def mutated(content: bytes, mutations: list[tuple[str, float, bytes]]) -> bytes:
    """Bytes changed in some places."""
    for kind, where, piece in mutations:
        at = int(where * len(content))
        skipped = {"overwrite": len(piece), "insert": 0, "cut": len(content)}[kind]
        content = content[:at] + piece + content[at + skipped :]
    return content


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """The bytes of a good file, changed."""
    return MUTATIONS.map(lambda mutations: mutated(content, mutations))


def passports() -> st.SearchStrategy[str]:
    """The text of a good passport with some values replaced, or its bytes changed."""
    good = tiny_passport()
    parts = st.sampled_from([{}, *({key: {}} for key in good), {"heatmap": good["heatmap"] | {"depth": 0}}])
    values = st.dictionaries(st.sampled_from(list(good)), JSON, max_size=2)
    replaced = st.tuples(parts, values).map(lambda changes: json.dumps(good | changes[0] | changes[1]))
    bytewise = damaged(json.dumps(good).encode()).map(lambda content: content.decode("utf-8", "replace"))
    return replaced | bytewise | JSON.map(json.dumps)


def encoded_pictures() -> list[bytes]:
    """Small files of every format and kind."""
    ramp = np.add.outer(np.arange(24), 7 * np.arange(20)).astype(np.uint8)
    rgb, rgba = np.dstack([ramp, ramp[::-1], 255 - ramp]), np.dstack([ramp] * 4)
    kinds = {".png": [rgb, ramp, rgba, rgb.astype(np.uint16) * 257], ".jpg": [rgb, ramp], ".bmp": [rgb, ramp]}
    pairs = [(suffix, image, ()) for suffix, images in {**kinds, ".webp": [rgb, rgba]}.items() for image in images]
    more = [(".jpg", rgb, (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)), (".webp", rgba, (cv2.IMWRITE_WEBP_QUALITY, 101))]
    return [cv2.imencode(suffix, image, flags)[1].tobytes() for suffix, image, flags in pairs + more]  # type: ignore[operator]


def take_picture(content: bytes, folder: Path) -> None:
    path = folder / "picture"
    path.write_bytes(content)
    rgb = read_image(path)
    assert rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.flags.c_contiguous


def take_passport(text: str, folder: Path) -> None:
    info = parse_passport(text, "m.onnx")
    assert 0 < info.heatmap.depth_range_m < 100 and 0 < info.input_px < 5000


with zipfile.ZipFile(EMBEDDED_MODEL) as embedded:
    HAND_MEMBERS = {entry: embedded.read(entry) for entry in embedded.namelist()}


@st.composite
def hand_model_files(draw: st.DrawFn) -> bytes:
    """The embedded hand with some arrays left out or changed, zipped well or badly."""
    members = dict(HAND_MEMBERS)
    for name in draw(st.lists(st.sampled_from([*members, "left_v_template.npy", "extra.npy"]), max_size=3)):
        content = members.pop(name, HAND_MEMBERS["v_template.npy"])
        kind = draw(st.sampled_from(["drop", "number", "number", "header"]))
        if kind == "number":
            members[name] = content[:-8] + draw(st.binary(min_size=8, max_size=8))
        elif kind == "header":
            members[name] = mutated(content[:128], draw(MUTATIONS)) + content[128:]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    content = stream.getvalue()
    return mutated(content, draw(MUTATIONS)) if draw(st.integers(0, 3)) == 0 else content


def take_hand_model(content: bytes, folder: Path) -> None:
    path = folder / "hand.npz"
    path.write_bytes(content)
    for model in load_hand_models(path):
        vertices, joints = skin(model, np.tile(np.eye(3), (16, 1, 1)), np.ones(10))
        assert vertices.shape == (778, 3) and joints.shape == (21, 3)
        assert np.isfinite(vertices).all() and np.isfinite(joints).all()


def take_model(content: bytes, folder: Path) -> None:
    path = folder / "m.onnx"
    path.write_bytes(content)
    with contextlib.closing(open_backend(path, threads=1)) as backend:
        outputs = backend.run(np.zeros(input_shape(backend.info.input_px), np.float32))
        assert {name: value.shape for name, value in outputs.items()} == OUTPUT_SHAPES


COORDINATES = NUMBERS | st.integers(-(2**70), 2**70) | st.floats(-1e5, 1e5) | st.floats(0, 200)
BOXES = (
    st.tuples(st.floats(-100, 200), st.floats(-100, 200), st.floats(1, 400), st.floats(1, 400))
    | st.lists(COORDINATES, min_size=4, max_size=4)
    | st.lists(COORDINATES | st.text(max_size=3) | st.none() | st.booleans() | st.complex_numbers(), max_size=6)
    | arrays(st.sampled_from([np.float32, np.int8, np.uint64, np.complex64, np.bool_]), st.integers(0, 6))
    | st.text(max_size=4)
)


SIDES = st.integers(0, 40) | st.sampled_from([1, 15, 16, 17, 300, 2160, 8192, 16384, 16385])


@st.composite
def frames(draw: st.DrawFn) -> Any:
    """Arrays of any size, layout and type, and what is no array."""
    if draw(st.integers(0, 20)) == 0:
        return draw(JSON)
    usual = draw(st.booleans())
    shape = tuple(draw(st.integers(16, 300) if usual else SIDES) for _ in range(2))
    shape += (3,) if usual else draw(st.sampled_from([(), (0,), (1,), (2,), (3,), (4,)]))
    dtype = "u1" if usual else draw(st.sampled_from(["u1", "u1", "<u2", ">u2", "f4", "?", "c8", "S2"]))
    if np.prod(shape) > 2**22:
        return np.broadcast_to(np.zeros((), dtype), shape)  # as large as one likes, of one element
    frame = np.resize(np.arange(256, dtype=np.uint8), shape).astype(dtype)
    layouts = [frame, frame[::-1, ::-1], frame[::2, 1::2], np.swapaxes(frame, 0, 1), frame.view(np.ma.MaskedArray)]
    return layouts[draw(st.integers(0, len(layouts) - 1))]


def take_frame(frame_and_box: tuple[Any, Any], folder: Path) -> None:
    frame, box = frame_and_box
    before = frame.copy() if isinstance(frame, np.ndarray) and frame.nbytes < 2**16 else None
    try:
        check_hands(RUNNER(frame, box))
    finally:
        if before is not None:
            assert np.asarray(frame).tobytes() == np.asarray(before).tobytes()  # the picture is the caller's


@st.composite
def network_outputs(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Sane outputs with some numbers replaced."""
    outputs = {name: np.array(value, np.float32) for name, value in resting_outputs().items()}
    elements = st.floats(width=32) | st.floats(-1e7, 1e7, width=32)
    for name in draw(st.lists(st.sampled_from(list(outputs)), max_size=3)):
        flat = outputs[name].reshape(-1)
        start = draw(st.integers(0, len(flat) - 1))
        values = draw(st.lists(elements, min_size=1, max_size=6))[: len(flat) - start]
        flat[start : start + len(values)] = values
    return outputs


def take_outputs(outputs: dict[str, np.ndarray], folder: Path) -> None:
    crop = Crop(np.array([80.0, 60.0]), 150.0, 64)
    right, left = decode(outputs, crop, Heatmap(8, 8, 8, 0.4), RUNNER.models)
    hands = Hands(right, left, outputs["relative_translation"][0], {})
    check_hands(hands)
    draw_hands(np.zeros((120, 160, 3), np.uint8), hands, skeleton=True)
    json.dumps(hands.to_json_dict(), allow_nan=False)
    if hands.present:
        write_glb(folder / "m.glb", hands)


def check_hands(hands: Hands) -> None:
    """Whole, and every number finite."""
    for hand in (hands.right, hands.left):
        assert hand.vertices.shape == (778, 3) and hand.joints.shape == (21, 3)
        for name in ("vertices", "joints", "joints_image", "joints_heatmap", "rotations", "shape", "camera"):
            assert np.isfinite(getattr(hand, name)).all(), name
        assert 0 <= hand.presence <= 1


TARGETS: dict[str, Target] = {
    "pictures": Target(st.sampled_from(encoded_pictures()).flatmap(damaged) | st.binary(max_size=80), take_picture),
    "passports": Target(passports(), take_passport),
    "hand models": Target(hand_model_files(), take_hand_model),
    "models": Target(damaged(MODEL) | st.binary(max_size=60), take_model),
    "frames": Target(st.tuples(frames(), st.none() | st.just((0, 0, 30, 30)) | BOXES), take_frame),
    "outputs": Target(network_outputs(), take_outputs),
}


def fuzz(target: Target, inputs: int, folder: Path, start: int | None = None) -> Counter[str]:
    """Try so many inputs and count "results" and "errors"; an exception where one ends otherwise.

    `start` seeds the inputs, None takes the same ones each time.
    """
    ends: Counter[str] = Counter()

    def attempt(value: Any) -> None:
        faulthandler.dump_traceback_later(MOST_SECONDS, exit=True)
        try:
            with np.errstate(all="ignore"):
                target.take(value, folder)
        except UserError as error:
            assert "\n" not in str(error) and 0 < len(str(error)) < LONGEST_MESSAGE, str(error)
            ends["errors"] += 1
        else:
            ends["results"] += 1
        finally:
            faulthandler.cancel_dump_traceback_later()

    options = settings(max_examples=inputs, deadline=None, database=None, derandomize=start is None)
    test = settings(options, suppress_health_check=list(HealthCheck))(given(target.inputs)(attempt))
    (test if start is None else seed(start)(test))()
    return ends
