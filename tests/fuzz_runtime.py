"""Everything that the runtime takes from outside, fuzzed: it ends in a result or in one of the runtime's own errors.

Each target runs in a process of its own with a limit on memory and on the time of one input, so that a crash, a hang
and a wild allocation are seen too.

python -m tests.fuzz_runtime --inputs 10000
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import signal
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Any

import cv2
import numpy as np
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from runtime.backends.contract import OUTPUT_SHAPES, Heatmap, input_shape, parse_passport
from runtime.backends.opening import open_backend
from runtime.errors import CommandParser, UserError, run_command
from runtime.hand.decode import decode
from runtime.hand.hand_model import EMBEDDED_MODEL, load_hand_models, skin
from runtime.hand.hands import Hands
from runtime.hand.mesh_files import write_glb
from runtime.image.crop import Crop
from runtime.image.draw import draw_hands
from runtime.image.reading import quiet_opencv, read_image
from runtime.runner import Runner, load
from runtime.video.tracking import Tracker
from tests.conftest import resting_outputs, tiny_passport, write_tiny_model

MOST_MEMORY_BYTES = 6 * 2**30  # of address space: libraries and thread stacks reserve much that they never use
MOST_SECONDS = 20  # for one input
LONGEST_MESSAGE = 1500


@dataclass(frozen=True)
class Target:
    """What is fuzzed: inputs, and what takes them, in a folder for files."""

    inputs: st.SearchStrategy[Any]
    take: Callable[[Any, Path], object]


# ---- what inputs are made of

INFINITE = float("inf")
SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e9, -1e9, 3.4e38, 1.7e308, float("nan"), INFINITE, -INFINITE)
NUMBERS = st.sampled_from(SPECIAL) | st.floats(width=64)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
PIECES = st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\x80" * 10])
KINDS = ("overwrite", "insert", "delete", "cut", "repeat")
MUTATIONS = st.lists(st.tuples(st.sampled_from(KINDS), st.floats(0, 1), PIECES), min_size=1, max_size=4)


def mutated(content: bytes, mutations: list[tuple[str, float, bytes]]) -> bytes:
    """Bytes changed in some places."""
    for kind, where, piece in mutations:
        at = int(where * len(content))
        before, after = content[:at], content[at:]
        content = {
            "overwrite": before + piece + after[len(piece) :],
            "insert": before + piece + after,
            "delete": before + after[len(piece) :],
            "cut": before,
            "repeat": before + after[:64] * 3 + after,
        }[kind]
    return content


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """The bytes of a good file, changed."""
    return MUTATIONS.map(lambda mutations: mutated(content, mutations))


def changed_json(good: dict[str, Any]) -> st.SearchStrategy[str]:
    """The text of a good JSON object with some values replaced, at any depth, or its bytes changed."""

    def replace(changes: list[tuple[tuple[str, ...], Any]]) -> str:
        facts = json.loads(json.dumps(good))
        for (*above, key), value in changes:
            inside = facts
            for name in above:
                inside = inside[name] if isinstance(inside.get(name), dict) else {}
            inside[key] = value
        return json.dumps(facts)

    replaced = st.lists(st.tuples(st.sampled_from(list(_paths(good))), JSON), min_size=1, max_size=3).map(replace)
    bytewise = damaged(json.dumps(good).encode()).map(lambda content: content.decode("utf-8", "replace"))
    added = st.dictionaries(st.text(max_size=8), JSON, max_size=3).map(lambda more: json.dumps(more | good))
    return replaced | added | bytewise | JSON.map(json.dumps) | st.text(max_size=60)


def _paths(facts: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in facts.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from _paths(value, (*above, key))


# ---- files


def encoded_pictures() -> list[bytes]:
    """Small files of every format and kind."""
    ramp = np.add.outer(np.arange(24), 7 * np.arange(20)).astype(np.uint8)
    rgb, rgba = np.dstack([ramp, ramp.T.repeat(2, 0)[:24, :20], 255 - ramp]), np.dstack([ramp] * 4)
    wide = rgb.astype(np.uint16) * 257
    kinds = {".png": [rgb, ramp, rgba, wide], ".jpg": [rgb, ramp], ".bmp": [rgb, ramp], ".webp": [rgb, rgba]}
    kinds[".tiff"] = [rgb, wide, rgba]
    pairs = [(suffix, image, ()) for suffix, images in kinds.items() for image in images]
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


@cache
def hand_members() -> dict[str, bytes]:
    with zipfile.ZipFile(EMBEDDED_MODEL) as archive:
        return {entry: archive.read(entry) for entry in archive.namelist()}


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


ANY_DTYPE = st.sampled_from(["<f2", ">f4", "<f8", "<c8", "<i1", ">i8", "<u8", "?", "<U5", "S3", "<M8[s]", "<f4"])


@st.composite
def hand_model_files(draw: st.DrawFn) -> bytes:
    """The embedded hand with some arrays replaced or changed, zipped well or badly."""
    members = dict(hand_members())
    for name in draw(st.lists(st.sampled_from([*members, "left_v_template.npy", "extra.npy"]), max_size=3)):
        kind = draw(st.sampled_from(["drop", "element", "element", "element", "any", "bytes"]))
        members.pop(name, None)
        content = hand_members().get(name, hand_members()["v_template.npy"])
        array = np.load(io.BytesIO(content)) if kind == "element" else None
        if array is not None and array.size:
            size = array.dtype.itemsize
            place = draw(st.integers(0, array.size - 1))
            end = len(content) - array.nbytes + size * place
            content = content[:end] + draw(st.binary(min_size=size, max_size=size)) + content[end + size :]
            members[name] = content
        elif kind == "any":
            shape = draw(st.sampled_from([(3,), (), (778, 3)]) | st.lists(st.integers(0, 5), max_size=4).map(tuple))
            members[name] = npy(np.resize(draw(arrays(draw(ANY_DTYPE), (3,))), shape))
        elif kind == "bytes":
            members[name] = mutated(content[:128], draw(MUTATIONS)) + content[128:]
    stream = io.BytesIO()
    methods = [zipfile.ZIP_STORED] * 9 + [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
    with zipfile.ZipFile(stream, "w", draw(st.sampled_from(methods)), compresslevel=1) as archive:
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


@cache
def tiny_model() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return write_tiny_model(Path(folder) / "tiny.onnx").read_bytes()


def take_model(content: bytes, folder: Path) -> None:
    path = folder / "m.onnx"
    path.write_bytes(content)
    with contextlib.closing(open_backend(path, threads=1)) as backend:
        outputs = backend.run(np.zeros(input_shape(backend.info.input_px), np.float32))
        assert {name: value.shape for name, value in outputs.items()} == OUTPUT_SHAPES


# ---- boxes and frames


@cache
def runner() -> Runner:
    with tempfile.TemporaryDirectory() as folder:
        return load(write_tiny_model(Path(folder) / "tiny.onnx"), threads=1)


@cache
def plain_picture() -> np.ndarray:
    return np.add.outer(np.arange(120), np.arange(160 * 3)).astype(np.uint8).reshape(120, 160, 3)


COORDINATES = NUMBERS | st.integers(-(2**70), 2**70) | st.floats(-1e5, 1e5) | st.floats(0, 200)
BOXES = (
    st.tuples(st.floats(-100, 200), st.floats(-100, 200), st.floats(1, 400), st.floats(1, 400))
    | st.lists(COORDINATES, min_size=4, max_size=4)
    | st.lists(COORDINATES | st.text(max_size=3) | st.none() | st.booleans() | st.complex_numbers(), max_size=6)
    | arrays(st.sampled_from([np.float32, np.int8, np.uint64, np.complex64, np.bool_]), st.integers(0, 6))
    | st.lists(st.lists(COORDINATES, max_size=4), max_size=4)
    | st.text(max_size=4)
    | COORDINATES
)


def take_box(box: Any, folder: Path) -> None:
    check_hands(runner()(plain_picture(), box))


SIDES = st.integers(0, 40) | st.integers(15, 300) | st.sampled_from([1, 15, 16, 17, 2160, 8192, 16384, 16385])
LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "plain": lambda frame: frame,
    "reversed": lambda frame: frame[::-1, ::-1, ::-1] if frame.ndim == 3 else frame[::-1, ::-1],
    "every second": lambda frame: frame[::2, 1::2],
    "fortran": lambda frame: np.asfortranarray(frame) if frame.size < 2**20 else frame,
    "transposed": lambda frame: np.swapaxes(frame, 0, 1),
    "frozen": lambda frame: np.broadcast_to(frame, frame.shape),
    "class": lambda frame: frame.view(np.ma.MaskedArray),
}


@st.composite
def frames(draw: st.DrawFn) -> Any:
    """Arrays of any size, layout and type, and what is no array."""
    if draw(st.integers(0, 20)) == 0:
        return draw(JSON | st.binary(max_size=20))
    usual = draw(st.booleans())
    height, width = (draw(st.integers(16, 300) if usual else SIDES) for _ in range(2))
    channels = 3 if usual else draw(st.sampled_from([3, 1, 4, 2, 5, 0, None]))
    shape = (height, width) if channels is None else (height, width, channels)
    kinds = ["u1", "u1", "<u2", ">u2", "f4", "i4", "?", "c8", "O", "S2"]
    dtype = np.dtype("u1" if usual else draw(st.sampled_from(kinds)))
    if dtype.hasobject or np.prod(shape) * dtype.itemsize > 2**24:
        frame = np.broadcast_to(np.zeros((), dtype), shape)  # as large as one likes, of one element
    else:
        frame = np.resize(np.arange(256, dtype=np.uint8), int(np.prod(shape)) * dtype.itemsize)
        frame = frame.view(dtype).reshape(shape)
    return LAYOUTS[draw(st.sampled_from(["plain", *LAYOUTS]))](frame)


def take_frame(frame_and_box: tuple[Any, Any], folder: Path) -> None:
    frame, box = frame_and_box
    before = frame.copy() if isinstance(frame, np.ndarray) and frame.nbytes < 2**16 else None
    try:
        check_hands(runner()(frame, box))
    finally:
        if before is not None:
            assert np.asarray(frame).tobytes() == np.asarray(before).tobytes()  # the picture is the caller's


def take_video(sequence: list[Any], folder: Path) -> None:
    tracker = Tracker(runner())
    for frame in sequence:
        check_hands(tracker(frame))


# ---- what a network may give


@st.composite
def network_outputs(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Sane outputs with some numbers replaced."""
    outputs = {name: np.array(value, np.float32) for name, value in resting_outputs().items()}
    elements = st.floats(width=32) | st.floats(-1e7, 1e7, width=32) | st.sampled_from([0.0, 1.0, 1e6, -1e6])
    for name in draw(st.lists(st.sampled_from(list(outputs)), max_size=3)):
        flat = outputs[name].reshape(-1)
        start = draw(st.integers(0, len(flat) - 1))
        values = draw(st.lists(elements, min_size=1, max_size=6))[: len(flat) - start]
        flat[start : start + len(values)] = values
    return outputs


def take_outputs(outputs: dict[str, np.ndarray], folder: Path) -> None:
    crop = Crop(np.array([80.0, 60.0]), 150.0, 64)
    right, left = decode(outputs, crop, Heatmap(8, 8, 8, 0.4), runner().models)
    hands = Hands(right, left, outputs["relative_translation"][0], {})
    check_hands(hands)
    draw_hands(plain_picture(), hands, skeleton=True)
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


# ---- running

TARGETS: dict[str, Target] = {
    "pictures": Target(st.sampled_from(encoded_pictures()).flatmap(damaged) | st.binary(max_size=80), take_picture),
    "passports": Target(changed_json(tiny_passport()), take_passport),
    "hand models": Target(hand_model_files(), take_hand_model),
    "models": Target(st.deferred(lambda: damaged(tiny_model())) | st.binary(max_size=60), take_model),
    "boxes": Target(BOXES, take_box),
    "frames": Target(st.tuples(frames(), st.none() | st.just((0, 0, 30, 30)) | BOXES), take_frame),
    "videos": Target(st.lists(frames(), max_size=3), take_video),
    "outputs": Target(network_outputs(), take_outputs),
}


@dataclass
class Ends:
    """How the inputs of a target ended."""

    results: int = 0
    errors: int = 0

    @property
    def tried(self) -> int:
        return self.results + self.errors


def fuzz(target: Target, inputs: int, folder: Path, *, start: int | None = None, seconds: float = 1e9) -> Ends:
    """Try so many inputs; an AssertionError or whatever was raised where one ends otherwise.

    `start` seeds the inputs, None takes the same ones each time. After `seconds` no more are tried.
    """
    ends = Ends()
    until = time.monotonic() + seconds

    def attempt(value: Any) -> None:
        if time.monotonic() > until:
            return
        try:
            with np.errstate(all="ignore"):
                target.take(value, folder)
        except UserError as error:
            assert "\n" not in str(error) and 0 < len(str(error)) < LONGEST_MESSAGE, str(error)
            ends.errors += 1
        else:
            ends.results += 1

    health = list(HealthCheck)
    options = settings(max_examples=inputs, deadline=None, database=None, derandomize=start is None)
    test = settings(options, suppress_health_check=health)(given(target.inputs)(attempt))
    (test if start is None else seed(start)(test))()
    return ends


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; `arguments` without the program's name."""
    parser = CommandParser(__doc__ or "")
    parser.add_argument("--inputs", type=int, default=10_000, metavar="N", help="per target (10000)")
    parser.add_argument("--seconds", type=float, default=600, metavar="S", help="per target, at most (600)")
    parser.add_argument("--seed", type=int, default=int(time.time()), metavar="N", help="default: the clock")
    parser.add_argument("--target", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}", flush=True)
    failed = False
    for name in options.target:  # in a fresh process each, whose end says whether all went well
        process = get_context("spawn").Process(target=run, args=(name, options.inputs, options.seed, options.seconds))
        process.start()
        process.join()
        failed |= process.exitcode != 0
        if process.exitcode != 0:
            print(f"{name}: FAILED (exit {process.exitcode})", flush=True)
    return int(failed)


def run(name: str, inputs: int, start: int, seconds: float) -> None:
    """Fuzz one target within limits; an exception where an input ends otherwise or too few were tried."""
    faulthandler.enable()
    cv2.setNumThreads(1)
    quiet_opencv()
    runner()  # before the limit
    if sys.platform.startswith("linux"):
        import resource  # Windows has none

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    target, began = TARGETS[name], time.monotonic()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        limited = Target(target.inputs, lambda value, place: _in_time(target.take, value, place))
        ends = fuzz(limited, inputs, Path(folder), start=start, seconds=seconds)
    print(f"{name}: {ends.results} results, {ends.errors} errors, {time.monotonic() - began:.0f} s", flush=True)
    if ends.tried < inputs:
        raise TimeoutError(f"only {ends.tried} of {inputs} inputs were tried")


def _in_time(take: Callable[[Any, Path], object], value: Any, folder: Path) -> None:
    """A TimeoutError where an input takes too long; where not even that helps, faulthandler ends the process."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"an input takes more than {MOST_SECONDS} s")

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    faulthandler.dump_traceback_later(3 * MOST_SECONDS, exit=True)
    try:
        take(value, folder)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    run_command(main)
