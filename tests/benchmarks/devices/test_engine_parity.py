"""Distances between an engine's hands and the reference's, in mm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.devices.engine_parity import ParityFigures, compare, shipped_parity
from runtime.backends.contract import Outputs
from runtime.files import file_sha256
from runtime.hand.hand_model import HandPair, load_hand_models
from runtime.hand.rotations import matrix_from_6d, matrix_from_axis_angle
from tests.conftest import MakeModel, resting_outputs
from tests.fixtures.engine_files import install, write_engine
from tests.fixtures.fake_gpu import FakeGpu

IMAGE = np.zeros((1, 3, 8, 8), np.float32)
MODELS = HandPair(*load_hand_models())


def outputs(**changes: np.ndarray) -> Outputs:
    return {name: np.asarray(value, np.float32) for name, value in (resting_outputs() | changes).items()}


def compared(found: Outputs, expected: Outputs, precision: str = "fp32") -> ParityFigures:
    return compare(lambda image: found, lambda image: expected, [IMAGE] * 3, MODELS, precision)


def test_the_same_is_zero() -> None:
    parity = compared(outputs(), outputs())
    assert parity.mean_mm == parity.worst_hand_mm == parity.relative_translation_mm == 0 and parity.reason is None
    assert (parity.presence_changed, parity.hands, parity.crops) == (0, 6, 3)


def test_a_turned_wrist_moves_vertices_as_far_as_geometry_says() -> None:
    changed = outputs()
    turn = matrix_from_axis_angle(np.array([[0.0, 0.0, 0.1]]))[0]
    before = matrix_from_6d(changed["rotation6d"][0])
    turned = turn @ before[0, 0]
    changed["rotation6d"][0, 0, 0] = np.concatenate([turned[:, 0], turned[:, 1]])
    parity = compared(changed, outputs(), "int8")
    vertices, _ = MODELS.skin(before.astype(np.float32), np.zeros((2, 10), np.float32))
    expected = 1000 * np.linalg.norm(vertices[0] @ turn.T - vertices[0], axis=-1).mean()
    assert parity.worst_hand_mm == pytest.approx(expected, rel=1e-3) and expected > 2
    assert parity.mean_mm == pytest.approx(expected / 2, rel=1e-3)
    assert parity.reason == f"{parity.mean_mm:.3f} mm from onnxruntime on the same file, more than 2.0: do not use it"


def test_translation_presence_and_hands_that_are_not_there() -> None:
    moved = resting_outputs()["relative_translation"] + [[0.003, 0, 0.004]]
    parity = compared(outputs(relative_translation=moved), outputs())
    assert parity.relative_translation_mm == pytest.approx(5, rel=1e-3) and parity.mean_mm == 0
    one_hand = np.array([[4.0, -3.0]])
    one = outputs(presence=one_hand, shape=np.ones((1, 2, 10)))
    reference = outputs(presence=one_hand, shape=np.stack([np.ones((1, 10)), np.zeros((1, 10))], 1))
    parity = compared(one, reference)
    assert (parity.mean_mm, parity.hands) == (0, 3)  # what the absent hand looks like does not count
    assert compared(outputs(), reference).presence_changed == 3


def test_numbers_that_are_not_finite_and_nothing_at_all_fail() -> None:
    nobody = outputs(presence=np.array([[-4.0, -3.0]]))
    for found, expected in ((outputs(shape=np.full((1, 2, 10), np.nan)), outputs()), (nobody, nobody)):
        parity = compared(found, expected, "int8")
        assert np.isnan(parity.mean_mm) and parity.reason is not None


def test_an_engine_file_and_the_onnx_file_it_names(
    tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, FakeGpu())
    source = make_model("er-s_64_fp16.onnx")
    same = shipped_parity(source, source)
    assert (same.mean_mm, same.presence_changed, same.crops, same.hands) == (0, 0, 64, 128)
    parity = shipped_parity(write_engine(tmp_path, onnx_sha256=file_sha256(source)))
    assert parity.crops == 64 and parity.reason is not None  # the made engine's numbers are no hands
