"""Accuracy by the same code for networks and files; the mean-pose yardstick."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.errors import UserError
from runtime.hand_model import load_hand_models
from training.data.dataset import HandDataset, open_frames
from training.data.interhand import Frames
from training.data.samples import load_sample
from training.evaluate import Images, evaluate, main, mean_pose_mpjpe_mm, network_predictor, truth_of
from training.metrics import HandBatch
from training.network import build

HANDS = load_hand_models()


@pytest.fixture(scope="module")
def frames(synthetic_root: Path) -> Frames:
    return open_frames("synthetic", "val", HANDS, 48)


def test_the_labels_as_prediction_are_perfect(frames: Frames) -> None:
    truth = truth_of([load_sample(frames, i, 64) for i in range(len(frames))], HANDS)
    position = 0

    def predict(images: Images) -> HandBatch:
        nonlocal position
        part = slice(position, position + len(images))
        position += len(images)
        return HandBatch(
            truth.joints[part], truth.vertices[part], truth.relative_translation[part], truth.present[part]
        )

    accuracy = evaluate(predict, frames, 64, HANDS).accuracy("made")
    assert accuracy.n_images == 48 and 0 < accuracy.n_interacting < 48
    assert (accuracy.mpjpe_mm, accuracy.mpvpe_mm, accuracy.mrrpe_mm, accuracy.presence_accuracy) == (0, 0, 0, 1)


def test_an_untrained_network_is_far_off(frames: Frames) -> None:
    accuracy = evaluate(network_predictor(build("er-nano").eval(), HANDS), frames, 160, HANDS).accuracy("made")
    assert accuracy.mpjpe_mm > 20


def test_the_mean_pose_is_the_best_constant(frames: Frames) -> None:
    on_itself = mean_pose_mpjpe_mm(frames, frames)
    assert 10 < on_itself < 80
    assert mean_pose_mpjpe_mm(frames.first(8), frames) > on_itself - 5


def test_dataset_items(frames: Frames) -> None:
    item = HandDataset(frames, 64)[0]
    assert item["image"].shape == (3, 64, 64) and item["rotations"].shape == (2, 16, 3, 3)
    assert np.array_equal(item["image"].permute(1, 2, 0).numpy(), load_sample(frames, 0, 64).image)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either --variant NAME or --model FILE"),
        (["--variant", "er-s", "--model", "x.onnx"], "either --variant NAME or --model FILE"),
        (["--model", "x.onnx", "--checkpoint", "y"], "no effect with --model"),
        (["--model", "x.onnx"], "no model"),
        (["--variant", "er-l"], "no weights come with"),
        (["--variant", "er-zz"], "unknown variant"),
    ],
)
def test_bad_arguments(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main(arguments)
