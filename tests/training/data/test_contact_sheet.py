"""The contact sheet, looked at as a reader would: are the labels where the hands are?"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.image.sheets import COLUMNS, GAP_PX, LINE_PX
from training.data import contact_sheet as sheet


def test_sheet(synthetic_root: Path, tmp_path: Path) -> None:
    target = tmp_path / "sheet.png"
    assert sheet.main([str(synthetic_root), "-o", str(target), "-n", "8", "--split", "val"]) == 0
    picture = np.asarray(cv2.imread(str(target)))
    pitch = sheet.TILE_PX + GAP_PX
    rows = -(-8 // COLUMNS)
    assert picture.shape == (GAP_PX + rows * (2 * pitch + LINE_PX), COLUMNS * pitch + GAP_PX, 3)
    tiles = [picture[GAP_PX:, GAP_PX + column * pitch :][: 2 * sheet.TILE_PX, : sheet.TILE_PX] for column in range(6)]
    plain, marked = np.reshape(tiles, (COLUMNS, 2, sheet.TILE_PX, sheet.TILE_PX, 3)).swapaxes(0, 1)
    drawn = (plain != marked).any(axis=-1)
    boxes = (marked == sheet.BOX_COLOUR).all(axis=-1) & drawn
    for labels, box in zip(drawn, boxes, strict=True):
        assert 0.01 < labels.mean() < 0.3  # lines, not areas
        rows, columns = np.nonzero(box)
        assert max(np.ptp(rows), np.ptp(columns)) == pytest.approx(sheet.TILE_PX / sheet.BOX_SCALE, abs=2)
