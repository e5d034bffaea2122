"""Both hands drawn over the image: shaded meshes that hide each other as the hands do, and skeletons.

Per hand the triangles that face the camera are painted from far to near, as triangle numbers. Per pixel, depth and
light are then interpolated across the triangle: the depths say which hand is in front. Painting happens at twice the
image's resolution (less where the hands fill a large image), and shrinking it back smooths the edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from ..files import write_bytes_atomic
from ..hand.hands import COLOURS, Floats, Hand, Hands
from ..hand.joints import BONES
from .reading import Rgb
from .text import Colour, text_size_px, write_text

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


def draw_hands(image: Rgb, hands: Hands, *, skeleton: bool = False, opacity: float = 0.7) -> Rgb:
    """A copy of the image (H, W, 3) with the hands that are present drawn over it, their skeletons named by side."""
    result = image.copy()
    drawable = [hand for hand in hands.present if hand.camera[0] > 0]
    if drawable and opacity > 0:
        depth_offset_m = {"right": 0.0, "left": float(hands.relative_translation[2]) if len(drawable) == 2 else 0.0}
        _draw_meshes(result, drawable, [depth_offset_m[hand.side] for hand in drawable], opacity)
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


@dataclass(frozen=True, eq=False)
class _Surface:
    """The triangles of one hand that face the camera, far ones first."""

    corners: Floats  # (F, 3, 2) canvas px
    depth_m: Floats  # (F, 3) at the corners
    light: Floats  # (F, 3) at the corners, 0..1
    palette: Rgb  # (256, 4) RGBA


def _draw_meshes(image: Rgb, hands: list[Hand], depth_offsets_m: list[float], opacity: float) -> None:
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
    surfaces = [
        _surface(hand, (projected - (x0, y0)) * (canvas_size / size), offset_m)
        for hand, projected, offset_m in zip(hands, points, depth_offsets_m, strict=True)
    ]
    layer = _render(surfaces, int(canvas_size[0]), int(canvas_size[1]))

    # Colours are black where nothing is, so shrinking them weights them by coverage.
    method = cv2.INTER_AREA if factor >= 1 else cv2.INTER_LINEAR
    layer = cast(Rgb, cv2.resize(layer, (int(size[0]), int(size[1])), interpolation=method))
    colour = cv2.convertScaleAbs(cv2.cvtColor(layer, cv2.COLOR_RGBA2RGB), alpha=opacity)
    shining_through = cv2.cvtColor(255 - cv2.convertScaleAbs(layer[..., 3], alpha=opacity), cv2.COLOR_GRAY2RGB)
    region[:] = cv2.add(cv2.multiply(region, shining_through, scale=1 / 255), colour)


def _surface(hand: Hand, points: NDArray[np.floating[Any]], depth_offset_m: float) -> _Surface:
    """A hand whose vertices (778, 2) lie at `points` on the canvas."""
    corners = np.clip(points, -_MAX_COORDINATE, _MAX_COORDINATE).astype(np.float32)[hand.faces]
    # Counter-clockwise from outside is a negative area where y goes down.
    visible = np.flatnonzero(_doubled_area(corners) < -_MIN_AREA)
    depth_m = hand.vertices[:, 2][hand.faces] + np.float32(depth_offset_m)
    order = visible[np.argsort(-depth_m[visible].mean(axis=1), kind="stable")]
    return _Surface(corners[order], depth_m[order], _vertex_light(hand)[hand.faces[order]], _PALETTES[hand.side])


def _render(surfaces: list[_Surface], width: int, height: int) -> Rgb:
    """Surfaces -> RGBA (height, width, 4), transparent where none is. The nearer one of two shows."""
    layer = np.zeros((height, width, 4), np.uint8)
    pixels = layer.reshape(-1, 4)
    painted = [_paint(surface.corners, width, height).reshape(-1) for surface in surfaces]
    for index, (surface, numbers) in enumerate(zip(surfaces, painted, strict=True)):
        where = np.flatnonzero(numbers)
        if index > 0:
            before = painted[0][where]
            shared = np.flatnonzero(before)
            behind = _interpolate(surface.corners, surface.depth_m, numbers[where[shared]], where[shared], width)
            ahead = _interpolate(surfaces[0].corners, surfaces[0].depth_m, before[shared], where[shared], width)
            where = np.delete(where, shared[behind > ahead])
        light = _interpolate(surface.corners, surface.light, numbers[where], where, width)
        pixels[where] = surface.palette[(light * (_TONES - 1)).astype(np.intp)]
    return layer


def _doubled_area(corners: Floats) -> Floats:
    """(F, 3, 2) -> (F,) signed."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return cast(Floats, first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])


def _paint(corners: Floats, width: int, height: int) -> NDArray[np.uint16]:
    """Triangles (F, 3, 2), far ones first -> per pixel the number of the nearest one, counted from 1; 0 is none."""
    canvas = np.zeros((height, width), np.uint16)
    for number, triangle in enumerate(_fixed_point(corners), start=1):
        cv2.fillConvexPoly(canvas, triangle, number, cv2.LINE_8, _FIXED_POINT_BITS)
    return canvas


def _interpolate(
    corners: Floats, values: Floats, numbers: NDArray[np.uint16], pixels: NDArray[np.intp], width: int
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
    planes = np.stack([at_origin, per_x, per_y, low, high], axis=1).astype(np.float32)[numbers.astype(np.intp) - 1]
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
    x, y = np.clip(place, (2, text_px[1] + 2), np.maximum((width, height) - text_px * (1, 0) - 4, 2)).astype(int)
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


_PALETTES = {side: _palette(colour) for side, colour in COLOURS.items()}
