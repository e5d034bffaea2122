"""Accuracy of an artefact through the very runner that is timed."""

from __future__ import annotations

from dataclasses import asdict

from benchmarks.records.record import AccuracyMm, PointAccuracy
from compress.check.scoring import LabelledCrops, score
from runtime.runner import Runner
from training.evaluation.accuracy_table import without_nan
from training.evaluation.predictions import runner_predictor


def measure_accuracy(runner: Runner, test: LabelledCrops, name: str) -> tuple[AccuracyMm | None, list[PointAccuracy]]:
    """Return the runner's figures over every image, in mm where the set has 3D labels, and in the picture."""
    scores, frames = score(runner_predictor(runner), test, name), test.frames
    points = [
        PointAccuracy(**asdict(part), dataset=frames.label, synthetic=frames.synthetic)
        for part in scores.points.figures()
    ]
    if not frames.has_3d:
        return None, points
    return AccuracyMm(synthetic=frames.synthetic, **without_nan(asdict(scores.accuracy(frames.label)))), points
