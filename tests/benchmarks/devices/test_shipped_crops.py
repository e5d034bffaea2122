"""The crops that travel with the project, and how far from onnxruntime an engine may be on them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.devices.shipped_crops import COUNT, FILE, parity_problem, shipped_crops


@pytest.mark.parametrize("crop_px", [160, 256])
def test_they_are_small_pictures(crop_px: int) -> None:
    crops = shipped_crops(crop_px)
    assert crops.shape == (COUNT, crop_px, crop_px, 3) and crops.dtype == np.uint8
    assert crops.reshape(COUNT, -1).std(axis=1).min() > 10  # none is empty
    assert len({crop.tobytes() for crop in crops}) == COUNT
    assert FILE.stat().st_size < 1.5e6


@pytest.mark.parametrize(("mean_mm", "fits"), [(0.1, True), (0.21, False), (float("nan"), False)])
def test_what_differs_too_much_or_is_no_number_fails(mean_mm: float, fits: bool) -> None:
    reason = parity_problem("fp32", mean_mm)
    assert reason is None if fits else reason and reason.endswith("more than 0.2: do not use it")
