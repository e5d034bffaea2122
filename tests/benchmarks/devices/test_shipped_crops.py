"""The crops that travel with the project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.devices.shipped_crops import COUNT, FILE, SIDE_PX, pack, shipped_crops


@pytest.mark.parametrize("crop_px", [160, 256])
def test_they_are_small_pictures(crop_px: int) -> None:
    crops = shipped_crops(crop_px)
    assert crops.shape == (COUNT, crop_px, crop_px, 3) and crops.dtype == np.uint8
    assert crops.reshape(COUNT, -1).std(axis=1).min() > 10  # none is empty
    assert len({crop.tobytes() for crop in crops}) == COUNT
    assert FILE.stat().st_size < 1.5e6


def test_packing_keeps_the_picture(tmp_path: Path) -> None:
    crops = shipped_crops(SIDE_PX)
    path = tmp_path / "crops.npz"
    path.write_bytes(pack(crops))
    assert np.abs(shipped_crops(SIDE_PX, path).astype(int) - crops).mean() < 2  # JPEG, twice
