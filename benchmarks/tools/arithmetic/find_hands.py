"""Hands of a file on prepared crops, by the runtime alone, so that it runs on an emulated CPU:

python -m benchmarks.tools.arithmetic.find_hands MODEL CROPS.npy RESULT.npz
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from runtime.runner import load


def find_hands(model: Path, crops: Path, result: Path) -> None:
    """Write joints, vertices, relative_translation (float) and present (bool) of the crops (N, S, S, 3) uint8."""
    with load(model, device="cpu", threads=1) as runner:
        found = [runner.run_crop(image) for image in np.load(crops, allow_pickle=False)]
    pairs = [(hands.right, hands.left) for hands in found]
    np.savez(
        result,
        joints=np.array([[hand.joints for hand in pair] for pair in pairs]),
        vertices=np.array([[hand.vertices for hand in pair] for pair in pairs]),
        relative_translation=np.array([hands.relative_translation for hands in found]),
        present=np.array([[hand.present for hand in pair] for pair in pairs]),
    )


if __name__ == "__main__":
    find_hands(*map(Path, sys.argv[1:]))
