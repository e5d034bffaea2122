"""Contact sheets: where pictures and their captions stand, and that thousands of pictures make pages, not memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime import Hands, load
from runtime.hand.hands import COLOURS
from runtime.image import sheets
from runtime.image.draw import WHITE
from runtime.image.reading import read_image
from runtime.image.sheets import GAP_PX, GROUND, LINE_PX, TILE_PX, Tile, draw_page, photo_tile, write_sheets


def tile(width: int, height: int, value: int, *words: str) -> Tile:
    return Tile(np.full((height, width, 3), value, np.uint8), [[(word, WHITE)] for word in words])


def is_like(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.asarray((np.abs(pixels.astype(int) - colour) < 40).all(axis=-1))


def test_pictures_stand_on_their_captions() -> None:
    page = draw_page([tile(40, 30, 200, "a", "b"), tile(20, 10, 100, "c")])
    assert page.shape == (GAP_PX + 30 + 2 * LINE_PX + 2 * GAP_PX, 2 * (40 + GAP_PX) + GAP_PX, 3)
    first, second = page[GAP_PX:, GAP_PX:][:30, :40], page[GAP_PX:, 2 * GAP_PX + 40 :][:30, :40]
    assert (first == 200).all()
    assert (second[20:, 10:30] == 100).all() and (second[:20] == GROUND).all()
    below = page[GAP_PX + 30 :]
    assert [is_like(below[i * LINE_PX + 2 :][:LINE_PX, :50], WHITE).any() for i in (0, 1)] == [True, True]
    assert [is_like(below[i * LINE_PX + 2 :][:LINE_PX, 50:], WHITE).any() for i in (0, 1)] == [True, False]


@pytest.mark.parametrize("size", [(16, 16), (900, 40), (40, 900), (1200, 1600)])
def test_a_photograph_of_any_shape(tiny_model: Path, size: tuple[int, int]) -> None:
    rgb = np.full((*size, 3), 128, np.uint8)
    hands = load(tiny_model)(rgb, (size[1] / 4, size[0] / 4, size[1] / 2, size[0] / 2))
    made = photo_tile("a.jpg", rgb, hands)
    assert max(made.picture.shape) == TILE_PX
    assert made.picture.shape[0] / made.picture.shape[1] == pytest.approx(size[0] / size[1], rel=0.1)
    assert made.caption[0] == [("a.jpg", WHITE)]
    shown = {hand.side: f"{hand.side} {hand.presence:.2f}" for hand in (hands.right, hands.left)}
    assert list(made.caption[1]) == [(shown[side], COLOURS[side]) for side in ("right", "left")]


def absent(hands: Hands, *sides: str) -> Hands:
    return replace(hands, **{side: replace(getattr(hands, side), present=False, presence=0.2) for side in sides})


def test_an_absent_hand_is_gray_and_not_drawn(tiny_model: Path) -> None:
    rgb = np.full((400, 400, 3), 128, np.uint8)
    hands = load(tiny_model)(rgb, (100, 100, 200, 200))
    alone, none = photo_tile("a", rgb, absent(hands, "left")), photo_tile("a", rgb, absent(hands, "right", "left"))
    shown = f"right {hands.right.presence:.2f}"
    assert list(alone.caption[1]) == [(shown, COLOURS["right"]), ("left 0.20", sheets.GRAY)]
    assert list(none.caption[1]) == [("no hands found", sheets.GRAY)]
    assert (none.picture == 128).all() and (alone.picture != 128).any()
    assert not (alone.picture[..., 2].astype(int) > alone.picture[..., 0].astype(int) + 30).any()  # nothing blue


def test_pages_are_written_as_they_are_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "PAGE_TILES", 3)

    def tiles() -> Iterator[Tile]:
        for number in range(7):
            assert len(list(tmp_path.iterdir())) == number // 3  # earlier pages are on the disk, not in memory
            yield tile(30, 30, 10 * number)

    paths = write_sheets(tmp_path, "title", tiles())
    assert [path.name for path in paths] == [f"contact_sheet_00{page}.jpg" for page in (1, 2, 3)]
    widths = [read_image(path).shape[1] for path in paths]
    assert widths == [3 * 40 + GAP_PX, 3 * 40 + GAP_PX, 40 + GAP_PX]
    assert write_sheets(tmp_path / "none", "title", []) == []


@pytest.mark.parametrize("text", ["a very long name of a photograph.jpg", "手" * 60, "x\n\udcff\0" * 20, ""])
def test_texts_are_cut_off_at_their_tile(text: str) -> None:
    page = draw_page([tile(120, 20, 90, text), tile(120, 20, 90)], text)
    assert (page[-LINE_PX:, GAP_PX + 120 :] == GROUND).all()
