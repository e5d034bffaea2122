"""Both hands drawn over the image: shaded meshes that hide each other as the hands do, and skeletons.

The triangles of both hands that face the camera are painted from far to near, as triangle numbers; per pixel, light is
then interpolated across the triangle. Painting happens at twice the image's resolution (less where the hands fill a
large image), and shrinking it back smooths the edges.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from ..files import write_bytes_atomic
from ..hand.hands import COLOURS, Floats, Hand, Hands
from ..hand.joints import BONES
from .reading import Rgb

Colour = tuple[int, int, int]  # RGB

WHITE: Colour = (255, 255, 255)
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.5
_JPEG_QUALITY = 92
_SUPERSAMPLING = 2.0
_MAX_CANVAS_PX = 1_000_000  # of the supersampled layer: bounds the time on large images
_MAX_COORDINATE = 2.0**14  # canvas px: a wild prediction must not overflow the fixed point numbers
_FIXED_POINT_BITS = 4
_MIN_AREA = 1e-3  # canvas px^2, twice: smaller triangles cover nothing
_TONES = 256

_LIGHT = np.array([-0.42, -0.62, -0.66], np.float32)  # towards the light: upper left, on the camera's side
_AMBIENT, _DIFFUSE, _EDGE = 0.26, 0.62, 0.30  # _EDGE: how much of the light is lost where the surface turns away
_GLOSS, _GLOSS_POWER = 0.16, 24

_OUTLINE: Colour = (25, 25, 25)
_BONE_THICKNESS_M = 0.0016
_NAME_SIZE_M = 0.0007
_DISC = np.array([(np.cos(angle), np.sin(angle)) for angle in np.linspace(0, 2 * np.pi, 16, endpoint=False)])


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
    """File names may hold anything: line ends, and bytes that are no letters. OpenCV 4 knows ASCII's letters alone."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def draw_hands(image: Rgb, hands: Hands, *, skeleton: bool = False, opacity: float = 0.7) -> Rgb:
    """A copy of the image (H, W, 3) with the hands that are present drawn over it, their skeletons named by side."""
    result = image.copy()
    drawable = [hand for hand in hands.present if hand.camera[0] > 0]
    if drawable and opacity > 0:
        _draw_meshes(result, drawable, float(hands.relative_translation[2]) if len(drawable) == 2 else 0.0, opacity)
    if skeleton:
        for hand in drawable:
            _draw_skeleton(result, hand)
        for hand in drawable:
            _draw_name(result, hand)
    return result


def write_picture(path: Path, rgb: Rgb) -> None:
    """Write an RGB image atomically, as PNG or JPEG by the name's suffix."""
    options = [] if path.suffix.lower() == ".png" else [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _, encoded = cv2.imencode(path.suffix.lower(), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    write_bytes_atomic(path, encoded.tobytes())


def _draw_meshes(image: Rgb, hands: list[Hand], left_behind_m: float, opacity: float) -> None:
    points = [hand.project(hand.vertices) for hand in hands]
    height, width = image.shape[:2]
    together = np.concatenate(points)
    x0, y0 = np.clip(np.floor(together.min(axis=0)) - 1, 0, (width, height)).astype(int)
    x1, y1 = np.clip(np.ceil(together.max(axis=0)) + 1, 0, (width, height)).astype(int)
    if x0 >= x1 or y0 >= y1:
        return
    region = image[y0:y1, x0:x1]
    size = np.array([x1 - x0, y1 - y0])
    factor = min(_SUPERSAMPLING, float(np.sqrt(_MAX_CANVAS_PX / size.prod())))
    canvas_size = np.ceil(size * factor).astype(int)
    on_canvas = [np.clip((p - (x0, y0)) * (canvas_size / size), -_MAX_COORDINATE, _MAX_COORDINATE) for p in points]
    corners = np.concatenate([p.astype(np.float32)[h.faces] for p, h in zip(on_canvas, hands, strict=True)])
    depth_m = [h.vertices[:, 2][h.faces].mean(axis=1) + left_behind_m * (h.side == "left") for h in hands]
    light = np.concatenate([_vertex_light(hand)[hand.faces] for hand in hands])
    palette = np.concatenate([np.full(len(hand.faces), hand.side == "left", np.intp) for hand in hands])
    # Counter-clockwise from outside is a negative area where y goes down.
    visible = np.flatnonzero(_doubled_area(corners) < -_MIN_AREA)
    order = visible[np.argsort(-np.concatenate(depth_m)[visible], kind="stable")]
    layer = _render(corners[order], light[order], palette[order], int(canvas_size[0]), int(canvas_size[1]))

    # Colours are black where nothing is, so shrinking them weights them by coverage.
    method = cv2.INTER_AREA if factor >= 1 else cv2.INTER_LINEAR
    layer = cast(Rgb, cv2.resize(layer, (int(size[0]), int(size[1])), interpolation=method))
    colour = cv2.convertScaleAbs(cv2.cvtColor(layer, cv2.COLOR_RGBA2RGB), alpha=opacity)
    shining_through = cv2.cvtColor(255 - cv2.convertScaleAbs(layer[..., 3], alpha=opacity), cv2.COLOR_GRAY2RGB)
    region[:] = cv2.add(cv2.multiply(region, shining_through, scale=1 / 255), colour)


def _render(corners: Floats, light: Floats, palette: NDArray[np.intp], width: int, height: int) -> Rgb:
    """Triangles, far ones first: corners (F, 3, 2), light (F, 3) 0..1 -> RGBA (height, width, 4), clear around them."""
    canvas = np.zeros((height, width), np.uint16)  # numbers of triangles, from 1
    for number, triangle in enumerate(_fixed_point(corners), start=1):
        cv2.fillConvexPoly(canvas, triangle, number, cv2.LINE_8, _FIXED_POINT_BITS)
    pixels = np.flatnonzero(canvas)
    numbers = canvas.reshape(-1)[pixels].astype(np.intp) - 1
    tones = (_interpolate(corners, light, numbers, pixels, width) * (_TONES - 1)).astype(np.intp)
    layer = np.zeros((height, width, 4), np.uint8)
    layer.reshape(-1, 4)[pixels] = _PALETTES[palette[numbers], tones]
    return layer


def _doubled_area(corners: Floats) -> Floats:
    """(F, 3, 2) -> (F,) signed."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return cast(Floats, first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])


def _interpolate(
    corners: Floats, values: Floats, numbers: NDArray[np.intp], pixels: NDArray[np.intp], width: int
) -> Floats:
    """The values (F, 3) at corners (F, 3, 2), interpolated at pixels (N,), each in the triangle of that number."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    rise, other = values[:, 1] - values[:, 0], values[:, 2] - values[:, 0]
    area = _doubled_area(corners)
    per_x = (rise * second[:, 1] - other * first[:, 1]) / area
    per_y = (other * first[:, 0] - rise * second[:, 0]) / area
    at_origin = values[:, 0] + per_x * (0.5 - corners[:, 0, 0]) + per_y * (0.5 - corners[:, 0, 1])
    # Painted triangles reach half a pixel too far, where a steep one would go anywhere.
    low, high = values.min(axis=1), values.max(axis=1)
    planes = np.stack([at_origin, per_x, per_y, low, high], axis=1).astype(np.float32)[numbers]
    row, column = np.divmod(pixels.astype(np.int32), np.int32(width))
    inside = planes[:, 0] + planes[:, 1] * column.astype(np.float32) + planes[:, 2] * row.astype(np.float32)
    return np.clip(inside, planes[:, 3], planes[:, 4])


def _vertex_light(hand: Hand) -> Floats:
    """(778,) brightness, 0..1."""
    normals = hand.normals()
    light = _LIGHT / np.linalg.norm(_LIGHT)
    half = light - np.array([0, 0, 1])  # between the light and the eye
    half = half / np.linalg.norm(half)
    matt = _AMBIENT + _DIFFUSE * np.maximum(normals @ light, 0)
    matt = matt * (1 - _EDGE * (1 - np.maximum(-normals[:, 2], 0)) ** 2)
    glossy = _GLOSS * np.maximum(normals @ half, 0) ** _GLOSS_POWER
    return np.asarray(np.minimum(matt + glossy, 1), np.float32)


def _draw_skeleton(image: Rgb, hand: Hand) -> None:
    """Bones and joints, as thick as suits the hand's size."""
    points = np.clip(hand.joints_image, -_MAX_COORDINATE, _MAX_COORDINATE)
    thickness_px = int(np.clip(float(hand.camera[0]) * _BONE_THICKNESS_M, 1, 24))
    tint = _light_tint(hand)
    fixed = [(int(x), int(y)) for x, y in _fixed_point(points)]
    for colour, extra_px in ((_OUTLINE, 2), (tint, 0)):
        for parent, child in BONES:
            ends = fixed[parent], fixed[child]
            cv2.line(image, *ends, colour, thickness_px + extra_px, cv2.LINE_AA, _FIXED_POINT_BITS)
        for point in points:
            disc = point + _DISC * (thickness_px + (2.0 if extra_px else 1.0))  # cv2.circle makes diamonds this small
            cv2.fillConvexPoly(image, _fixed_point(disc), colour, cv2.LINE_AA, _FIXED_POINT_BITS)


def _draw_name(image: Rgb, hand: Hand) -> None:
    """The hand's side below its wrist, inside the image, as large as suits the hand."""
    height, width = image.shape[:2]
    wrist, knuckle = np.clip(hand.joints_image[[0, 9]], -_MAX_COORDINATE, _MAX_COORDINATE)
    if not (0 <= wrist[0] <= width and 0 <= wrist[1] <= height):
        return
    side_px = (width + height) / 2
    size = max(float(np.clip(hand.camera[0] * _NAME_SIZE_M, side_px / 450, side_px / 300)), 0.8)
    text_px = np.array(text_size_px(hand.side, size))
    away = (wrist - knuckle) / max(float(np.linalg.norm(wrist - knuckle)), 1e-6)
    place = wrist + away * text_px * 0.8 - text_px * (0.5, -0.5)
    x, y = np.clip(place, (2, text_px[1] + 2), np.maximum((width, height) - text_px * (1, 0.4) - 4, 2)).astype(int)
    write_text(image, hand.side, (int(x), int(y)), size, _light_tint(hand))


def _light_tint(hand: Hand) -> Colour:
    red, green, blue = (int(255 - 0.45 * (255 - c)) for c in COLOURS[hand.side])
    return red, green, blue


def _fixed_point(points: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
    """Continuous coordinates -> OpenCV's fixed point numbers, where pixel centres are at integers."""
    return np.asarray(np.round((points - 0.5) * 2**_FIXED_POINT_BITS), np.int32)


def _palette(colour: tuple[int, int, int]) -> Rgb:
    """(256, 4) RGBA per brightness: deep shade, the colour, highlight."""
    base = np.array(colour, np.float64)
    stops = np.stack([base * 0.12, base * 0.55, base, base + (255 - base) * 0.55])
    at = [np.interp(np.linspace(0, 1, _TONES), [0, 0.35, 0.72, 1], stops[:, channel]) for channel in range(3)]
    return np.column_stack([*at, np.full(_TONES, 255)]).round().astype(np.uint8)


_PALETTES = np.stack([_palette(COLOURS[side]) for side in ("right", "left")])
