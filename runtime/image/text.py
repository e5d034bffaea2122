"""Text in pictures. OpenCV 4 has no letters but ASCII's and draws others as question marks."""

from __future__ import annotations

import cv2

from .reading import Rgb

Colour = tuple[int, int, int]  # RGB

WHITE: Colour = (255, 255, 255)
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.5


def write_text(
    image: Rgb, text: str, place: tuple[int, int], size: float = 1.0, colour: Colour = WHITE, *, edge: bool = True
) -> None:
    """Write text into the image, its lower left corner at x, y px, with a dark edge or none; 14 px high at size 1."""
    x, y = place
    width = max(round(size), 1)
    # Edges by displaced copies: in OpenCV 5 thicker letters are wider ones, too.
    spots = [(x + i * width, y + j * width) for i in (-1, 0, 1) for j in (-1, 0, 1)] if edge else []
    for spot, ink in (*((spot, (0, 0, 0)) for spot in spots), (place, colour)):
        cv2.putText(image, _printable(text), spot, _FONT, _FONT_SCALE * size, ink, width, cv2.LINE_AA)


def text_size_px(text: str, size: float = 1.0) -> tuple[int, int]:
    """Width and height above the line that such a text takes."""
    (width, height), _ = cv2.getTextSize(_printable(text), _FONT, _FONT_SCALE * size, max(round(size), 1))
    return width, height


def _printable(text: str) -> str:
    """File names may hold anything: line ends, and bytes that are no letters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
