"""Accuracy of an artefact through the very runner that is timed, with the errors of every image kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.records.raw_samples import EXAMPLES
from benchmarks.records.record import AccuracyMm
from runtime.image.crop import crop_from_box
from runtime.image.draw import draw_hands
from runtime.runner import Runner
from training.data.frames import Frames
from training.data.samples import load_sample, read_rgb
from training.evaluation.predictions import Hands, Images, evaluate, truth_of
from training.evaluation.protocols import MCP_SCALED, HandBatch, Truth, measure

EXAMPLE_PX = 288  # side of each of an example's two pictures
JPEG_QUALITY = 85


@dataclass(frozen=True)
class Labels:
    """What the images of a data set truly show, loaded once for all artefacts of one crop size."""

    truth: Truth
    overlap: NDArray[np.float32]  # (N,) see benchmarks.records.raw_samples


def load_labels(frames: Frames, crop_px: int, hands: Hands) -> Labels:
    """Of every image, in the order of `frames`."""
    samples = [load_sample(frames, i, crop_px) for i in tqdm(range(len(frames)), "labels", unit="img", leave=False)]
    overlap = [outline_overlap(sample.points, sample.joint_valid > 0.5) for sample in samples]
    return Labels(truth_of(samples, hands, frames), np.array(overlap, np.float32))


def outline_overlap(points: NDArray[Any], valid: NDArray[np.bool_]) -> float:
    """Intersection over union of the convex hulls of the two hands' joints (2, 21, 2) that are seen."""
    if (valid.sum(axis=1) < 3).any():
        return 0.0
    right, left = (cv2.convexHull(points[side][valid[side]].astype(np.float32)) for side in range(2))
    shared = max(float(cv2.intersectConvexConvex(right, left)[0]), 0.0)
    union = cv2.contourArea(right) + cv2.contourArea(left) - shared
    return shared / union if union > 0 else 0.0


def measure_accuracy(
    runner: Runner, frames: Frames, hands: Hands, labels: Labels, name: str
) -> tuple[AccuracyMm, dict[str, NDArray[Any]]]:
    """Figures of the runner on every image, and the arrays of benchmarks.records.raw_samples by what they are."""
    batches: list[HandBatch] = []

    def predict(images: Images) -> HandBatch:
        batches.append(predict_batch(runner, images))
        return batches[-1]

    figures = evaluate(predict, frames, runner.input_px, hands, f"accuracy {name}").accuracy(frames.label)
    predicted = HandBatch(
        **{key: np.concatenate([getattr(batch, key) for batch in batches]) for key in vars(batches[0])}
    )
    errors = measure(MCP_SCALED, predicted, labels.truth)
    joint_mm = np.where(errors.joint_counts, errors.joint_mm, np.nan).astype(np.float32)
    arrays: dict[str, NDArray[Any]] = {
        "joint_mm": joint_mm,
        "vertex_mm": np.where(errors.vertex_counts, errors.vertex_mm, np.nan).astype(np.float32),
        "overlap": labels.overlap,
        "image": np.asarray(frames.annotation_id, np.int64),
        **draw_examples(runner, frames, joint_mm),
    }
    accuracy = AccuracyMm(
        dataset=figures.dataset,
        synthetic=frames.synthetic,
        protocol=figures.protocol,
        mpjpe_mm=_finite(figures.mpjpe_mm),
        mpvpe_mm=_finite(figures.mpvpe_mm),
        mrrpe_mm=_finite(figures.mrrpe_mm),
        presence_accuracy=_finite(figures.presence_accuracy),
        n_images=figures.n_images,
        n_interacting=figures.n_interacting,
    )
    return accuracy, arrays


def predict_batch(runner: Runner, images: Images) -> HandBatch:
    """The runner's hands on crops (N, S, S, 3), RGB 0..1, one after the other."""
    found = [runner.run_crop((image * 255).round().astype(np.uint8)) for image in images]
    pairs = [(hands.right, hands.left) for hands in found]
    return HandBatch(
        joints=np.stack([[hand.joints for hand in pair] for pair in pairs]),
        vertices=np.stack([[hand.vertices for hand in pair] for pair in pairs]),
        relative_translation=np.stack([hands.relative_translation for hands in found]),
        present=np.array([[hand.present for hand in pair] for pair in pairs]),
    )


def draw_examples(runner: Runner, frames: Frames, joint_mm: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """The best, the median and the worst image by its mean joint error, with what was found; none where none counts."""
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
    rgb = read_rgb(frames, index)
    box = frames.bbox[index]
    drawn = draw_hands(rgb, runner(rgb, box), skeleton=True)
    crop = crop_from_box(box, EXAMPLE_PX)
    pair = np.concatenate([crop.apply(rgb), crop.apply(drawn)], axis=1)
    done, data = cv2.imencode(".jpg", pair[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise ValueError("OpenCV cannot write JPEG")
    return np.asarray(data, np.uint8).reshape(-1)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
