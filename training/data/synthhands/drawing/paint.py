"""The colour of every pixel: background, skin, sleeves and things, wrapped light, highlights, one shadow map.

Colours are linear RGB. The kernel is thin; what a surface costs stands in functions of its own.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from training.data.synthhands.arrays import Bytes, Float32s, Ints
from training.data.synthhands.drawing.layout import AT, SHAPE_SIZE, SHAPES
from training.data.synthhands.drawing.raster import (
    NOTHING,
    Mesh,
    between,
    depth_of,
    f32,
    face_of,
    pixel_of,
    rounded_down,
)
from training.data.synthhands.kernels import kernel, part_of_kernel

SAMPLES = 2  # per pixel and axis
_TOTAL = SAMPLES * SAMPLES
# Columns of a mesh's material, interpolated over a triangle.
TEXTURE_X, TEXTURE_Z, PALM, KNUCKLE, FINGERTIP, NAIL, ARM, FINGER, ALONG = range(9)
MATERIAL_SIZE = 9
# Parts of faces; right and left.
HAND, ARM_PART, THING = 1, 3, 5

_SAME_SURFACE_M = f32(0.004)
_SHADOW_BIAS_M, _SHADOW_OFFSET_M = f32(0.0025), f32(0.0035)  # the latter along the normal, against stripes
# Light wraps around skin: how far past the terminator each colour reaches (red scatters farthest).
_WRAP = (f32(0.34), f32(0.16), f32(0.10))
_RED_IN_SHADOW = f32(0.10)
# How much of the skin texture's darkening reaches each colour: creases are reddish.
_CREASE = (f32(0.72), f32(0.95), f32(1.0))
_KNUCKLE_TINT, _TIP_TINT = (f32(-0.06), f32(-0.17), f32(-0.16)), (f32(0.05), f32(-0.07), f32(-0.05))
_HEM_M = f32(0.0048)
TEXTURE_ORIGIN_M, TEXTURE_PX_PER_M = (-0.235, -0.105), 1000.0
_ORIGIN_X, _ORIGIN_Z, _PX_PER_M = f32(TEXTURE_ORIGIN_M[0]), f32(TEXTURE_ORIGIN_M[1]), f32(TEXTURE_PX_PER_M)
_ZERO, _HALF, _ONE = f32(0.0), f32(0.5), f32(1.0)


class Drawn(NamedTuple):
    """What the kernels before found, a picture axis first, and what pictures are painted with."""

    seen: Float32s  # (B, V, 3) camera axes
    pixels: Float32s  # (B, V, 3) x, y in samples, inverse depth
    normals: Float32s  # (B, V, 4) and openness
    nearest: Ints  # (B, SAMPLES H, SAMPLES W) keys
    depths: Float32s  # (B, S, S) of the first light
    to_light: Float32s  # (B, 3, 4)
    looks: Float32s  # (B, LOOK_SIZE)
    textures: Float32s  # (N, 2, H, W) skin darkening: back of the hand, palm
    canvases: Bytes  # (N, H, W, 3) sRGB
    levels: Float32s  # (256,) of bytes in linear light


class Surface(NamedTuple):
    """What is at a sample."""

    colour: int  # where in the look its colour is; or skin
    tint: float
    specular: float
    crease: float
    nail: float
    palm: float
    knuckle: float
    fingertip: float


@kernel
def paint(first: int, step: int, count: int, mesh: Mesh, drawn: Drawn, image: Float32s) -> None:
    """Fill `image` (B, H, W, 3): each surface within a pixel is shaded once."""
    looks, nearest = drawn.looks, drawn.nearest
    height, width = image.shape[1], image.shape[2]
    for i in range(first, count, step):
        b, row, column = pixel_of(i, height, width)
        if row >= looks[b, AT.size + 1] or column >= looks[b, AT.size]:
            continue
        done, hit = 0, 0  # done: samples, as bits
        for sample in range(_TOTAL):
            if nearest[b, row * SAMPLES + sample // SAMPLES, column * SAMPLES + sample % SAMPLES] == NOTHING:
                done |= 1 << sample
            else:
                hit += 1
        if hit < _TOTAL:
            _paint_background(b, row, column, drawn, image)
        keep = f32(_TOTAL - hit) / f32(_TOTAL)
        for c in range(3):
            image[b, row, column, c] = image[b, row, column, c] * keep if hit < _TOTAL else _ZERO
        for sample in range(_TOTAL):
            if done >> sample & 1:
                continue
            y, x = row * SAMPLES + sample // SAMPLES, column * SAMPLES + sample % SAMPLES
            key = nearest[b, y, x]
            part, depth, alike = mesh.parts[face_of(key)], depth_of(key), 0
            for other in range(sample, _TOTAL):
                if done >> other & 1:
                    continue
                beside = nearest[b, row * SAMPLES + other // SAMPLES, column * SAMPLES + other % SAMPLES]
                near = abs(depth_of(beside) - depth) < _SAME_SURFACE_M
                if other == sample or (mesh.parts[face_of(beside)] == part and near):
                    done |= 1 << other
                    alike += 1
            _shade(b, row, column, y, x, f32(alike) / f32(_TOTAL), mesh, drawn, image)
        if looks[b, AT.cover + 2] != _ZERO or looks[b, AT.cover + 3] != _ZERO:
            _paint_cover(b, row, column, drawn, image)


@part_of_kernel
def _shade(
    b: int, row: int, column: int, y: int, x: int, share: float, mesh: Mesh, drawn: Drawn, image: Float32s
) -> None:
    """Add the share of a pixel that looks like its sample at (y, x)."""
    pixels, look = drawn.pixels, drawn.looks[b]
    key = drawn.nearest[b, y, x]
    face, depth = face_of(key), depth_of(key)
    p, q, r = mesh.faces[face, 0], mesh.faces[face, 1], mesh.faces[face, 2]
    x0, y0 = pixels[b, p, 0], pixels[b, p, 1]
    x1, y1, x2, y2 = pixels[b, q, 0] - x0, pixels[b, q, 1] - y0, pixels[b, r, 0] - x0, pixels[b, r, 1] - y0
    inverse = _ONE / (x1 * y2 - x2 * y1)
    u, v = f32(x) + _HALF - x0, f32(y) + _HALF - y0
    w1 = (u * y2 - x2 * v) * inverse * pixels[b, q, 2] * depth  # shares that are right in perspective
    w2 = (x1 * v - u * y1) * inverse * pixels[b, r, 2] * depth
    at = (p, q, r, _ONE - w1 - w2, w1, w2)

    part = mesh.parts[face]
    surface = _surface(part, at, look, mesh.material, drawn.textures)
    nx, ny, nz = _mix(drawn.normals[b], at, 0), _mix(drawn.normals[b], at, 1), _mix(drawn.normals[b], at, 2)
    scale = _ONE / math.sqrt(nx * nx + ny * ny + nz * nz + f32(1e-12))
    nx, ny, nz = nx * scale, ny * scale, nz * scale
    px, py, pz = _mix(drawn.seen[b], at, 0), _mix(drawn.seen[b], at, 1), _mix(drawn.seen[b], at, 2)
    opened = _mix(drawn.normals[b], at, 3)
    hemisphere = (f32(0.75) - f32(0.25) * ny) * opened
    off = _SHADOW_OFFSET_M
    lit = lit_share(drawn.depths[b], drawn.to_light[b], px + off * nx, py + off * ny, pz + off * nz)
    distance = _ONE / math.sqrt(px * px + py * py + pz * pz)
    for c in range(3):
        light, shine = look[AT.ambient + c] * hemisphere, _ZERO
        for k in range(3):
            strength = look[AT.colours + 3 * k + c]
            if strength <= _ZERO:
                continue
            lx, ly, lz = look[AT.lights + 3 * k], look[AT.lights + 3 * k + 1], look[AT.lights + 3 * k + 2]
            facing = nx * lx + ny * ly + nz * lz
            reached = lit if k == 0 else _ONE
            leak = _RED_IN_SHADOW if c == 0 else _ZERO
            diffuse = max(_ZERO, (facing + _WRAP[c]) / (_ONE + _WRAP[c]))
            light += strength * diffuse * (leak + (_ONE - leak) * reached) * (_HALF + _HALF * opened)
            if facing > _ZERO and reached > _ZERO and surface.specular > _ZERO:
                hx, hy, hz = lx - px * distance, ly - py * distance, lz - pz * distance
                along = (nx * hx + ny * hy + nz * hz) / math.sqrt(hx * hx + hy * hy + hz * hz + f32(1e-12))
                if along > _HALF:
                    shine += surface.specular * math.exp(look[AT.gloss] * (along - _ONE)) * reached * strength
        image[b, row, column, c] += share * (_albedo(c, surface, look) * light + shine)


@part_of_kernel
def _mix(values: Float32s, at: tuple[int, int, int, float, float, float], k: int) -> float:
    """A column of vertices' values, interpolated."""
    return at[3] * values[at[0], k] + at[4] * values[at[1], k] + at[5] * values[at[2], k]


@part_of_kernel
def _surface(
    part: int, at: tuple[int, int, int, float, float, float], look: Float32s, material: Float32s, textures: Float32s
) -> Surface:
    """What covers a place: a thing, a sleeve, a watch, a ring or skin."""
    side, along_arm, z = (part - 1) % 2, _mix(material, at, ARM), _mix(material, at, TEXTURE_Z)
    specular, tint = look[AT.specular], _ONE
    if part >= THING:
        tint += look[AT.stripes] * math.sin(look[AT.stripes + 1] * _mix(material, at, TEXTURE_X))
        return _painted(AT.thing, tint, specular * f32(2.0))
    palm = _mix(material, at, PALM)
    if part >= ARM_PART:
        beyond = along_arm - look[AT.sleeve_from + side]
        if beyond > _ZERO:
            tint -= f32(0.35) * max(_ZERO, _ONE - beyond / _HEM_M)
            tint *= _ONE + look[AT.stripes] * math.sin(look[AT.stripes + 1] * along_arm)
            return _painted(AT.sleeve, tint, _ZERO)
        if look[AT.watch] == side:
            away = abs(along_arm - look[AT.watch + 1]) / look[AT.watch + 2]
            dial = away * away * f32(0.5) + z * z / f32(0.017 * 0.017)
            if palm < f32(0.4) and dial < _ONE:
                return _painted(AT.metal, f32(0.35) if dial < f32(0.72) else _ONE, f32(0.3))
            if away < _ONE:
                return _painted(AT.strap, _ONE - f32(0.4) * away * away, specular)
    elif look[AT.ring] == side and abs(_mix(material, at, FINGER) - look[AT.ring + 1]) < f32(0.1):
        away = abs(_mix(material, at, ALONG) - look[AT.ring + 2]) / look[AT.ring + 3]
        if away < _ONE:
            return _painted(AT.metal, f32(0.55) + f32(0.45) * math.sqrt(_ONE - away * away), f32(0.5))
    field = _mix(material, at, NAIL)
    nail = min(max(field * f32(4.0) - f32(0.2), _ZERO), _ONE)
    crease = _skin_texture(textures, int(look[AT.texture]), _mix(material, at, TEXTURE_X), z, palm)
    crease += look[AT.nail_edge + 1] * max(_ZERO, _ONE - abs(field + f32(0.1)) * f32(5.0))
    knuckle, tip = _mix(material, at, KNUCKLE), _mix(material, at, FINGERTIP)
    return Surface(AT.skin, _ONE, specular * (_ONE + look[AT.nail_edge + 2] * nail), crease, nail, palm, knuckle, tip)


@part_of_kernel
def _painted(colour: int, tint: float, specular: float) -> Surface:
    """What has one colour of the look's, and nothing of skin."""
    return Surface(colour, tint, specular, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO)


@part_of_kernel
def _albedo(c: int, surface: Surface, look: Float32s) -> float:
    """Of one colour: palms lighter and pinker, knuckles and fingertips redder, creases darker."""
    if surface.colour != AT.skin:
        return look[surface.colour + c] * surface.tint
    dark = look[AT.darkness] * math.sqrt(look[AT.darkness])
    bare = look[AT.skin + c] * (_ONE + surface.palm * (look[AT.palm + c] + f32(0.75) * dark))
    bare *= _ONE + look[AT.redness] * surface.knuckle * _KNUCKLE_TINT[c]
    bare *= _ONE + look[AT.redness] * surface.fingertip * _TIP_TINT[c]
    bare = min(bare, f32(0.92)) * (_ONE - _CREASE[c] * surface.crease * (_ONE - surface.nail))
    return bare + look[AT.nail_edge] * surface.nail * (look[AT.nail + c] - bare)


@part_of_kernel
def _skin_texture(textures: Float32s, number: int, x_m: float, z_m: float, palm: float) -> float:
    """Darkening at a skin point, blended between the texture of the back (0) and of the palm (1)."""
    u = min(max((x_m - _ORIGIN_X) * _PX_PER_M - _HALF, _ZERO), f32(textures.shape[3]) - f32(1.001))
    v = min(max((z_m - _ORIGIN_Z) * _PX_PER_M - _HALF, _ZERO), f32(textures.shape[2]) - f32(1.001))
    i, j = int(u), int(v)
    fu, fv = u - f32(i), v - f32(j)
    total = _ZERO
    for layer in range(2):
        share = palm if layer == 1 else _ONE - palm
        if share > _ZERO:
            top = between(textures[number, layer, j, i], textures[number, layer, j, i + 1], fu)
            bottom = between(textures[number, layer, j + 1, i], textures[number, layer, j + 1, i + 1], fu)
            total += share * between(top, bottom, fv)
    return total


@part_of_kernel
def lit_share(depths: Float32s, to: Float32s, x: float, y: float, z: float) -> float:
    """How much of the first light reaches a point in camera axes, 0..1: four shadow map cells, bilinear."""
    u = to[0, 0] * x + to[0, 1] * y + to[0, 2] * z + to[0, 3] - _HALF
    v = to[1, 0] * x + to[1, 1] * y + to[1, 2] * z + to[1, 3] - _HALF
    w = to[2, 0] * x + to[2, 1] * y + to[2, 2] * z + to[2, 3] - _SHADOW_BIAS_M
    if u < _ZERO or v < _ZERO or u >= f32(depths.shape[1] - 1) or v >= f32(depths.shape[0] - 1):
        return _ONE
    i, j = int(u), int(v)
    fu, fv = u - f32(i), v - f32(j)
    dark = _ZERO
    for down in range(2):
        for right in range(2):
            if depths[j + down, i + right] < w:
                dark += (fu if right else _ONE - fu) * (fv if down else _ONE - fv)
    return _ONE - dark


@part_of_kernel
def _paint_background(b: int, row: int, column: int, drawn: Drawn, image: Float32s) -> None:
    look = drawn.looks[b]
    x, y = f32(column) + _HALF, f32(row) + _HALF
    _paint_canvas(b, row, column, x, y, drawn, image)
    for k in range(SHAPES):
        at = AT.shapes + k * SHAPE_SIZE
        if look[at + 6] <= _ZERO:
            continue
        dx, dy = x - look[at], y - look[at + 1]
        u, v = look[at + 2] * dx + look[at + 3] * dy, look[at + 4] * dx + look[at + 5] * dy
        inside = min(max((_ONE - u * u - v * v) * look[at + 6] + _HALF, _ZERO), _ONE)
        shade = max(_ONE + look[at + 10] * u + look[at + 11] * v, f32(0.2))
        for c in range(3):
            image[b, row, column, c] += inside * (look[at + 7 + c] * shade - image[b, row, column, c])


@part_of_kernel
def _paint_cover(b: int, row: int, column: int, drawn: Drawn, image: Float32s) -> None:
    look = drawn.looks[b]
    x, y = f32(column) + _HALF, f32(row) + _HALF
    dx, dy = x - look[AT.cover], y - look[AT.cover + 1]
    u, v = look[AT.cover + 2] * dx + look[AT.cover + 3] * dy, look[AT.cover + 4] * dx + look[AT.cover + 5] * dy
    if (u * u + v * v if look[AT.cover + 6] > _ZERO else max(abs(u), abs(v))) < _ONE:
        _paint_canvas(b, row, column, x + look[AT.cover + 7], y, drawn, image)


@part_of_kernel
def _paint_canvas(b: int, row: int, column: int, x: float, y: float, drawn: Drawn, image: Float32s) -> None:
    """Take a pixel from the picture's background, which is mirrored at its edges."""
    look, canvases, levels = drawn.looks[b], drawn.canvases, drawn.levels
    number = int(look[AT.canvas])
    u = look[AT.canvas_at] * x + look[AT.canvas_at + 1] * y + look[AT.canvas_at + 2] - _HALF
    v = look[AT.canvas_at + 3] * x + look[AT.canvas_at + 4] * y + look[AT.canvas_at + 5] - _HALF
    i, j = rounded_down(u), rounded_down(v)
    fu, fv = u - f32(i), v - f32(j)
    left, right = _mirrored(i, canvases.shape[2]), _mirrored(i + 1, canvases.shape[2])
    top, bottom = _mirrored(j, canvases.shape[1]), _mirrored(j + 1, canvases.shape[1])
    for c in range(3):
        above = between(levels[canvases[number, top, left, c]], levels[canvases[number, top, right, c]], fu)
        below = between(levels[canvases[number, bottom, left, c]], levels[canvases[number, bottom, right, c]], fu)
        image[b, row, column, c] = between(above, below, fv) * look[AT.canvas_gain + c]


@part_of_kernel
def _mirrored(i: int, size: int) -> int:
    if 0 <= i < size:
        return i
    i = i % (2 * size)
    return i if i < size else 2 * size - 1 - i
