"""Threads for all tests, and a tiny model that keeps the graph contract for every test that needs a model file."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")  # before anything reads it: more threads than cores crawl

import hypothesis
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.backends.contract import METADATA_KEY, OUTPUT_SHAPES
from runtime.hand.hand_model import load_hand_models
from runtime.hand.rotations import matrix_from_axis_angle

INPUT_PX = 64
HEATMAP = {"depth": 8, "height": 8, "width": 8, "depth_range_m": 0.4}

IMAGES = 48  # of each split of the small synthetic set

MakeModel = Callable[..., Path]

# The same inputs in every run; new ones are tried by tests/runtime/test_fuzz.py on demand.
hypothesis.settings.register_profile("same", derandomize=True)
hypothesis.settings.load_profile("same")

# What a shell starts in the background ignores Ctrl-C, and so would every process that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# What the image's mean is multiplied by where it is added: to the hands' x, of the camera and of the heat maps.
MOVES = {
    "camera": np.tile(np.float32([0, 0.1, 0]), (1, 2, 1)),
    "joints_image": np.tile(np.float32([0.1 * HEATMAP["width"], 0, 0]), (1, 2, 21, 1)),
}


def tiny_passport() -> dict[str, Any]:
    """The least a passport says."""
    right, _ = load_hand_models()
    return {
        "variant": "er-s",
        "precision": "fp32",
        "input_px": INPUT_PX,
        "heatmap": HEATMAP,
        "hand_model": {"name": right.name, "sha256": right.sha256},
        "dataset": "SynthHands test (synthetic)",
        "synthetic": True,
    }


def resting_outputs() -> dict[str, np.ndarray]:
    """Two relaxed hands side by side, palms to the camera, fingers up, the right one in the left half of the crop."""
    upright = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]], np.float64)  # of the rest pose, fingers along -x
    fingers = np.zeros((16, 3))
    fingers[1:13, 2] = 0.35  # flexion
    right = matrix_from_axis_angle(fingers)
    right[0] = upright
    flip = np.diag([-1.0, 1.0, 1.0])
    rotations = np.stack([right, flip @ right @ flip])
    camera = np.array([[[2.6, 0.30, 0.78], [2.6, 0.70, 0.78]]])
    _, joints = load_hand_models().skin(rotations, np.zeros((2, 10)))
    seen = camera[:, :, None, :1] * joints[None, :, :, :2] + camera[:, :, None, 1:]  # in parts of the crop
    depth = joints[None, :, :, 2:] / HEATMAP["depth_range_m"] + 0.5
    return {
        "rotation6d": np.concatenate([rotations[..., 0], rotations[..., 1]], axis=-1)[None],
        "shape": np.zeros((1, 2, 10)),
        "camera": camera,
        "joints_image": np.concatenate([seen, depth], axis=-1) * HEATMAP["width"] - 0.5,
        "relative_translation": np.array([[0.15, 0.01, -0.03]]),
        "presence": np.array([[4.0, 3.0]]),
    }


def write_tiny_model(
    path: Path,
    passport: dict[str, Any] | str | None = None,
    outputs: dict[str, np.ndarray] | None = None,
    input_name: str = "image",
    input_px: int = INPUT_PX,
    drop_output: str | None = None,
    metadata: bool = True,
) -> Path:
    """A graph of the contract: constants, and hands that move with the image's mean, so that the input matters."""
    values = resting_outputs() | (outputs or {})
    image = helper.make_tensor_value_info(input_name, TensorProto.FLOAT, [1, 3, input_px, input_px])
    nodes, constants, graph_outputs = [], [], []
    nodes.append(helper.make_node("ReduceMean", [input_name], ["mean"], keepdims=0))
    for name, weight in {**MOVES, "nothing": np.zeros(1, np.float32)}.items():
        constants.append(numpy_helper.from_array(weight, f"{name}_weight"))
        nodes.append(helper.make_node("Mul", ["mean", f"{name}_weight"], [f"{name}_moved"]))
    for name, value in values.items():
        if name == drop_output:
            continue
        constants.append(numpy_helper.from_array(np.asarray(value, np.float32), f"{name}_value"))
        moved = f"{name if name in MOVES else 'nothing'}_moved"
        nodes.append(helper.make_node("Add", [f"{name}_value", moved], [name]))
        shape = OUTPUT_SHAPES[name] if outputs is None else list(np.shape(value))
        graph_outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    graph = helper.make_graph(nodes, "tiny", [image], graph_outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if metadata:
        text = passport if isinstance(passport, str) else json.dumps(tiny_passport() | (passport or {}))
        model.metadata_props.add(key=METADATA_KEY, value=text)
    onnx.save(model, path)
    return path


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Write a tiny model, with changes: see write_tiny_model."""

    def make(name: str = "tiny.onnx", **changes: Any) -> Path:
        return write_tiny_model(tmp_path / name, **changes)

    return make


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as it should be."""
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="session")
def synthetic_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache with a small synthetic set, the only one of this process: no test may make it larger."""
    from training.data.synthhands import ensure_synthetic

    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("ER_EDGE_CACHE", str(folder))
        for split in ("train", "val", "test"):
            root = ensure_synthetic(split, IMAGES, workers=2, progress=False)
        yield folder
    for split in ("train", "val", "test"):  # others count on it
        assert len(list((root / "images" / split).rglob("*.jpg"))) == IMAGES, f"a test has made more {split} images"
