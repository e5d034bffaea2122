"""The crops that travel with the project."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.devices.shipped_crops import COUNT, FILE, SIDE_PX, pack, shipped_crops
from runtime.errors import UserError


@pytest.mark.parametrize("crop_px", [160, 224, 256])
def test_they_are_pictures(crop_px: int) -> None:
    crops = shipped_crops(crop_px)
    assert crops.shape == (COUNT, crop_px, crop_px, 3) and crops.dtype == np.uint8
    assert crops.reshape(COUNT, -1).std(axis=1).min() > 10  # none is empty
    assert len({crop.tobytes() for crop in crops}) == COUNT


def test_they_are_small() -> None:
    assert FILE.stat().st_size < 1.5e6


def test_packing_keeps_the_picture(tmp_path: Path) -> None:
    crops = shipped_crops(SIDE_PX)
    path = tmp_path / "crops.npz"
    path.write_bytes(pack(crops))
    again = shipped_crops(SIDE_PX, path).astype(int)
    assert np.abs(again - crops).mean() < 2  # JPEG, twice
    with pytest.raises(ValueError, match="not 64 crops"):
        pack(crops[:3])


def array_file(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot read"),
        (b"PK no zip", "cannot read"),
        (array_file(jpeg=np.zeros(8, np.uint8)), "cannot read"),
        (array_file(jpeg=np.zeros(8, np.uint8), ends=np.array([8])), "does not hold 64 pictures"),
        (array_file(jpeg=np.zeros(64, np.uint8), ends=np.arange(64)), "does not hold 64 pictures"),
        (array_file(jpeg=np.zeros(64, np.float32), ends=np.arange(1, 65)), "does not hold 64 pictures"),
        (array_file(jpeg=np.zeros(64, np.uint8), ends=np.arange(1, 65)), "no picture of 256 px"),
        (array_file(jpeg=np.array([{}], object), ends=np.arange(1, 65)), "cannot read"),
        (b"x" * (5 << 20), "too large"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "crops.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=reason):
        shipped_crops(224, path)
    with pytest.raises(UserError, match="cannot read"):
        shipped_crops(224, tmp_path / "none.npz")
