"""Accuracy of an artefact through the very runner that is timed, with the errors of every image kept."""

from __future__ import annotations

from dataclasses import asdict

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.records.raw_samples import EXAMPLES, Arrays
from benchmarks.records.record import AccuracyMm, PointAccuracy
from compress.check.scoring import LabelledCrops, score
from runtime.image.crop import crop_from_box
from runtime.image.draw import draw_hands
from runtime.runner import Runner
from training.data.frames import Frames
from training.data.samples import read_rgb
from training.evaluation.accuracy_table import without_nan
from training.evaluation.predictions import Images, runner_predictor
from training.evaluation.protocols import MCP_SCALED, HandBatch, measure

EXAMPLE_PX = 288  # side of each of an example's two pictures
JPEG_QUALITY = 85


def measure_accuracy(
    runner: Runner, test: LabelledCrops, name: str
) -> tuple[AccuracyMm | None, list[PointAccuracy], Arrays]:
    """Return the runner's figures over every image, in mm where the set has 3D labels, and in the picture.

    And the arrays of benchmarks.records.raw_samples, which are of errors in mm.
    """
    predict = runner_predictor(runner)
    batches: list[HandBatch] = []

    def keeping(images: Images) -> HandBatch:
        batches.append(predict(images))
        return batches[-1]

    scores, frames = score(keeping, test, name), test.frames
    points = [
        PointAccuracy(frames.label, frames.synthetic, **without_nan(asdict(part))) for part in scores.points.figures()
    ]
    if not frames.has_3d:
        return None, points, {}
    errors = [measure(MCP_SCALED, batch, truth) for batch, truth in zip(batches, test.truth, strict=True)]
    joint_mm = np.concatenate([np.where(e.joint_counts, e.joint_mm, np.nan) for e in errors]).astype(np.float32)
    arrays = {"joint_mm": joint_mm, **draw_examples(runner, frames, joint_mm)}
    accuracy = AccuracyMm(synthetic=frames.synthetic, **without_nan(asdict(scores.accuracy(frames.label))))
    return accuracy, points, arrays


def draw_examples(runner: Runner, frames: Frames, joint_mm: NDArray[np.float32]) -> Arrays:
    """Draw the best, median and worst image by its mean joint error, with what was found; none where none counts."""
    counted = np.flatnonzero(~np.isnan(joint_mm).all(axis=(1, 2)))
    if len(counted) == 0:
        return {}
    error_mm = np.nanmean(joint_mm[counted], axis=(1, 2))
    order = np.argsort(error_mm, kind="stable")
    chosen = [order[0], order[(len(order) - 1) // 2], order[-1]]
    pictures = {
        f"example_{name}": _picture(runner, frames, int(counted[index]))
        for name, index in zip(EXAMPLES, chosen, strict=True)
    }
    return {**pictures, "example_error_mm": error_mm[chosen].astype(np.float32)}


def _picture(runner: Runner, frames: Frames, index: int) -> NDArray[np.uint8]:
    """Return the bytes of a JPEG: the crop, and the same with the hands that were found."""
    rgb = read_rgb(frames, index)
    box = frames.bbox[index]
    drawn = draw_hands(rgb, runner(rgb, box), skeleton=True)
    crop = crop_from_box(box, EXAMPLE_PX)
    pair = np.concatenate([crop.apply(rgb), crop.apply(drawn)], axis=1)
    data = cv2.imencode(".jpg", pair[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return np.asarray(data, np.uint8).reshape(-1)
