"""Hands of a file on prepared crops, by the runtime alone, so that it runs on an emulated CPU:

python -m benchmarks.tools.arithmetic.predict MODEL CROPS.npz RESULT.npz
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from runtime.runner import load


def predict(model: Path, crops: Path, target: Path) -> None:
    """crops: `crops` (N, S, S, 3) uint8. target: vertices, joints, relative_translation, present, all float or bool."""
    with np.load(crops, allow_pickle=False) as content:
        images = content["crops"]
    with load(model, device="cpu", threads=1) as runner:
        found = [runner.run_crop(image) for image in images]
    pairs = [(hands.right, hands.left) for hands in found]
    np.savez(
        target,
        vertices=np.array([[hand.vertices for hand in pair] for pair in pairs]),
        joints=np.array([[hand.joints for hand in pair] for pair in pairs]),
        relative_translation=np.array([hands.relative_translation for hands in found]),
        present=np.array([[hand.present for hand in pair] for pair in pairs]),
    )


if __name__ == "__main__":
    predict(*map(Path, sys.argv[1:]))
