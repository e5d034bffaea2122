"""Contact sheets: many pictures with what was found in them, on as many pages as it takes, each of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from ..hand.hands import COLOURS, Hands
from .draw import WHITE, Colour, draw_hands, text_size_px, write_picture, write_text
from .reading import Rgb

TILE_PX = 300  # longest side of a photograph on a sheet
COLUMNS = 6
PAGE_TILES = 48
NAME = "contact_sheet"  # of the files, before the page's number

GAP_PX, LINE_PX = 10, 18
GROUND: Colour = (24, 26, 30)
GRAY: Colour = (150, 154, 162)

Line = Sequence[tuple[str, Colour]]  # words, each in its colour


@dataclass(frozen=True, eq=False)
class Tile:
    """A picture of its final size, and the lines below it."""

    picture: Rgb
    caption: Sequence[Line]


def photo_tile(name: str, rgb: Rgb, hands: Hands) -> Tile:
    """A photograph with the hands found in it: its name, and the score of each hand."""
    scores = [
        (f"{hand.side} {hand.presence:.2f}", COLOURS[hand.side] if hand.present else GRAY)
        for hand in (hands.right, hands.left)
    ]
    found = scores if hands.present else [("no hands found", GRAY)]
    return Tile(_small_overlay(rgb, hands), [[(name, WHITE)], found])


def write_sheets(folder: Path, title: str, tiles: Iterable[Tile]) -> list[Path]:
    """Write pages of PAGE_TILES tiles as they come, so that thousands need no more memory; the files' paths.

    Every page is called contact_sheet_001.jpg and so on. Without a tile nothing is written.
    """
    paths: list[Path] = []
    rest = iter(tiles)
    while batch := list(islice(rest, PAGE_TILES)):
        first = PAGE_TILES * len(paths) + 1
        paths.append(folder / f"{NAME}_{len(paths) + 1:03d}.jpg")
        write_picture(paths[-1], draw_page(batch, f"{title}   pictures {first} to {first + len(batch) - 1}"))
    return paths


def draw_page(tiles: Sequence[Tile], heading: str = "") -> Rgb:
    """All tiles, row by row, below a line of heading; at least one."""
    width = max(tile.picture.shape[1] for tile in tiles)
    columns = min(COLUMNS, len(tiles))
    rows = [_row(tiles[start : start + columns], columns, width) for start in range(0, len(tiles), columns)]
    top = _ground(GAP_PX + (2 * LINE_PX if heading else 0), rows[0].shape[1])
    if heading:
        write_text(top, heading, (GAP_PX, GAP_PX + LINE_PX), edge=False)
    return np.vstack([top, *rows])


def _row(tiles: Sequence[Tile], columns: int, width: int) -> Rgb:
    """As high as its highest picture; pictures stand on their captions."""
    height = max(tile.picture.shape[0] for tile in tiles)
    lines = max(len(tile.caption) for tile in tiles)
    row = _ground(height + LINE_PX * lines + 2 * GAP_PX, columns * (width + GAP_PX) + GAP_PX)
    for column, tile in enumerate(tiles):
        left = GAP_PX + column * (width + GAP_PX)
        rows, across = tile.picture.shape[:2]
        y, x = height - rows, left + (width - across) // 2
        row[y : y + rows, x : x + across] = tile.picture
        for number, line in enumerate(tile.caption, start=1):
            x = left
            for word, colour in line:
                below = row[:, : left + width]  # what is too long is cut off
                write_text(below, word, (x, height + number * LINE_PX), colour=colour, edge=False)
                x += text_size_px(word)[0] + GAP_PX
    return row


def _ground(height: int, width: int) -> Rgb:
    return np.full((height, width, 3), GROUND, np.uint8)


def _small_overlay(rgb: Rgb, hands: Hands) -> Rgb:
    """The hands drawn over the photograph at twice a tile's size, then shrunk, so that thin lines stay thin."""
    large = _resized(rgb, 2 * TILE_PX)
    factor = np.float32(2 * TILE_PX / max(rgb.shape[:2]))
    right, left = (
        replace(hand, camera=hand.camera * factor, joints_image=hand.joints_image * factor)  # what is drawn
        for hand in (hands.right, hands.left)
    )
    return _resized(draw_hands(large, replace(hands, right=right, left=left), skeleton=True), TILE_PX)


def _resized(rgb: Rgb, longer_px: int) -> Rgb:
    factor = longer_px / max(rgb.shape[:2])
    height, width = (max(round(side * factor), 1) for side in rgb.shape[:2])
    mode = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=mode), np.uint8)
