"""A small rasteriser: z-buffer, multi-sample edges, one shadow map, skin shading.

Pixel centres lie at integers + 0.5. Camera axes are x right, y down, z away; triangles are counter-clockwise seen from
outside, and only their outsides are drawn. Colours are linear RGB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from training.data.synthhands.scene.posable import Floats

SAMPLES = 2  # per pixel and axis
SHADOW_PX = 256
_SHADOW_ARM_M = 0.22  # arms cast shadows up to here: the map is for the hands
_SHADOW_MARGIN_PX = 4
FAR = np.float32(1e9)

Float32s = NDArray[np.float32]
Int32s = NDArray[np.int32]
Bytes = NDArray[np.uint8]

# Columns of the per-vertex attributes that are interpolated over a triangle.
NORMAL, ALBEDO, TEXTURE, PALM, NAIL, ARM, OPEN = 0, 3, 6, 8, 9, 10, 11
ATTRIBUTES = 12


@dataclass(frozen=True)
class Lights:
    """The first light casts the shadow."""

    directions: Floats  # (K, 3) unit, towards the light, camera axes
    colours: Floats  # (K, 3)
    ambient: Floats  # (3,)
    gloss: float  # exponent-like sharpness of highlights
    specular: float


@dataclass(frozen=True)
class Surface:
    """What the drawn triangles are covered with."""

    texture: Float32s  # (2, H, W) skin darkening: back of the hand, palm
    texture_origin_m: tuple[float, float]  # of the texture's corner, in its own x and z
    texture_px_per_m: float
    sleeve_from_m: Floats  # (2,) along each arm, right and left; beyond the arm's end for bare arms
    sleeve_colour: Floats  # (3,)
    nail_colour: Floats  # (3,)


@dataclass(frozen=True)
class Pinhole:
    focal_px: Floats  # (2,)
    principal_px: Floats  # (2,)
    size_px: tuple[int, int]  # width, height

    def project(self, points: Floats) -> Floats:
        """Camera-space points (..., 3) -> pixels (..., 2)."""
        return points[..., :2] / points[..., 2:] * self.focal_px + self.principal_px


def rectangle_around(pixels: Floats, size_px: tuple[int, int], margin_px: int = 2) -> tuple[int, int, int, int]:
    """x, y, width, height of the part of the image that can hold the projected points; empty where none can."""
    low = np.clip(np.floor(pixels.min(axis=0)).astype(int) - margin_px, 0, size_px)
    high = np.clip(np.ceil(pixels.max(axis=0)).astype(int) + margin_px, 0, size_px)
    return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])


@njit(cache=True)
def rasterise(
    pixels: Floats,
    inverse_depth: Floats,
    faces: Int32s,
    depth: Float32s,
    face_of: Int32s,
    weights: Float32s,
) -> None:
    """Draws triangles into the z-buffer `depth` (H, W), face numbers `face_of` (-1: none) and `weights` (H, W, 2).

    `weights` are the second and third corner's shares, correct in perspective. `pixels` (V, 2) are in the buffers' own
    pixels, the centre of pixel 0 at 0.5.
    """
    height, width = depth.shape
    depth[:] = FAR
    face_of[:] = -1
    for face in range(faces.shape[0]):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        x0, y0 = pixels[a, 0], pixels[a, 1]
        x1, y1 = pixels[b, 0], pixels[b, 1]
        x2, y2 = pixels[c, 0], pixels[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area >= 0.0:  # seen from behind, in image axes with y down
            continue
        first_row = max(0, int(np.ceil(min(y0, y1, y2) - 0.5)))
        last_row = min(height - 1, int(np.floor(max(y0, y1, y2) - 0.5)))
        left, right = min(x0, x1, x2), max(x0, x1, x2)
        if first_row > last_row or right < 0.0 or left > width:
            continue
        # Barycentric coordinates are linear over the image: w = start + x * step along a row.
        step1, down1 = (y2 - y0) / area, -(x2 - x0) / area
        step2, down2 = -(y1 - y0) / area, (x1 - x0) / area
        step0 = -step1 - step2
        q0, q1, q2 = inverse_depth[a], inverse_depth[b], inverse_depth[c]
        for row in range(first_row, last_row + 1):
            y = row + 0.5
            start1 = -x0 * step1 + (y - y0) * down1
            start2 = -x0 * step2 + (y - y0) * down2
            start0 = 1.0 - start1 - start2
            # The span of x where all three are positive.
            low, high = left, right
            if step0 > 0.0:
                low = max(low, -start0 / step0)
            elif step0 < 0.0:
                high = min(high, -start0 / step0)
            if step1 > 0.0:
                low = max(low, -start1 / step1)
            elif step1 < 0.0:
                high = min(high, -start1 / step1)
            if step2 > 0.0:
                low = max(low, -start2 / step2)
            elif step2 < 0.0:
                high = min(high, -start2 / step2)
            for column in range(max(0, int(np.ceil(low - 0.5))), min(width - 1, int(np.floor(high - 0.5))) + 1):
                x = column + 0.5
                w1, w2 = start1 + x * step1, start2 + x * step2
                z = 1.0 / ((1.0 - w1 - w2) * q0 + w1 * q1 + w2 * q2)
                if z < depth[row, column]:
                    depth[row, column] = z
                    face_of[row, column] = face
                    weights[row, column, 0] = w1 * q1 * z
                    weights[row, column, 1] = w2 * q2 * z


@njit(cache=True)
def part_coverage(pixels: Floats, depth_m: Floats, faces: Int32s, parts: Bytes, front: Bytes, covered: Bytes) -> None:
    """Which part is in front, `front` (H, W), and which parts lie over a pixel at all, `covered` (H, W), bit 1 << part.

    Flat triangles without perspective correction: for small previews.
    """
    height, width = front.shape
    nearest = np.full((height, width), np.inf)
    front[:] = 0
    covered[:] = 0
    for face in range(faces.shape[0]):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        x0, y0 = pixels[a, 0], pixels[a, 1]
        x1, y1 = pixels[b, 0], pixels[b, 1]
        x2, y2 = pixels[c, 0], pixels[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area >= 0.0:
            continue
        for row in range(max(0, int(min(y0, y1, y2) - 0.5)), min(height - 1, int(max(y0, y1, y2))) + 1):
            y = row + 0.5
            for column in range(max(0, int(min(x0, x1, x2) - 0.5)), min(width - 1, int(max(x0, x1, x2))) + 1):
                x = column + 0.5
                w1 = ((x - x0) * (y2 - y0) - (x2 - x0) * (y - y0)) / area
                w2 = ((x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)) / area
                w0 = 1.0 - w1 - w2
                if w0 < 0.0 or w1 < 0.0 or w2 < 0.0:
                    continue
                covered[row, column] |= 1 << parts[face]
                z = w0 * depth_m[a] + w1 * depth_m[b] + w2 * depth_m[c]
                if z < nearest[row, column]:
                    nearest[row, column] = z
                    front[row, column] = parts[face]


def shadow_map(vertices: Floats, faces: Int32s, light: Floats) -> tuple[Float32s, Floats]:
    """The depth image seen from a light far away towards `light` (3,), and the 3x4 map from camera space into it."""
    away = -light
    helper = np.array([0.0, 1.0, 0.1])
    across = np.cross(away, helper)
    across /= np.sqrt((across * across).sum())
    axes = np.stack([across, np.cross(away, across), away])
    casting = np.unique(faces)
    placed = vertices[casting] @ axes.T
    low = placed.min(axis=0)
    scale = (SHADOW_PX - 2 * _SHADOW_MARGIN_PX) / (placed[:, :2].max(axis=0) - low[:2]).max()
    transform = np.zeros((3, 4))
    transform[:2, :3] = axes[:2] * scale
    transform[:2, 3] = _SHADOW_MARGIN_PX - low[:2] * scale
    transform[2, :3] = axes[2]
    image = np.empty((SHADOW_PX, SHADOW_PX), np.float32)
    _orthographic_depth(vertices @ transform[:, :3].T + transform[:, 3], faces, image)
    return image, transform


@njit(cache=True)
def _orthographic_depth(points: Floats, faces: Int32s, image: Float32s) -> None:
    height, width = image.shape
    image[:] = FAR
    for face in range(faces.shape[0]):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        x0, y0 = points[a, 0], points[a, 1]
        x1, y1 = points[b, 0], points[b, 1]
        x2, y2 = points[c, 0], points[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0.0:
            continue
        for row in range(max(0, int(min(y0, y1, y2) - 0.5)), min(height - 1, int(max(y0, y1, y2))) + 1):
            y = row + 0.5
            for column in range(max(0, int(min(x0, x1, x2) - 0.5)), min(width - 1, int(max(x0, x1, x2))) + 1):
                x = column + 0.5
                w1 = ((x - x0) * (y2 - y0) - (x2 - x0) * (y - y0)) / area
                w2 = ((x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)) / area
                w0 = 1.0 - w1 - w2
                if w0 < 0.0 or w1 < 0.0 or w2 < 0.0:
                    continue
                z = w0 * points[a, 2] + w1 * points[b, 2] + w2 * points[c, 2]
                if z < image[row, column]:
                    image[row, column] = z


def draw(
    image: Float32s,
    vertices: Floats,
    faces: Int32s,
    parts: Bytes,
    attributes: Float32s,
    camera: Pinhole,
    lights: Lights,
    surface: Surface,
) -> Bytes:
    """Draws camera-space triangles over `image` (H, W, 3), the background. Returns the parts (H, W) that are seen."""
    labels = np.zeros(image.shape[:2], np.uint8)
    pixels = camera.project(vertices)
    x, y, width, height = rectangle_around(pixels, camera.size_px)
    if width <= 0 or height <= 0:
        return labels
    size = height * SAMPLES, width * SAMPLES
    depth, face_of = np.empty(size, np.float32), np.empty(size, np.int32)
    weights = np.empty((*size, 2), np.float32)
    rasterise((pixels - [x, y]) * SAMPLES, 1 / vertices[:, 2], faces, depth, face_of, weights)
    casters = faces[attributes[faces[:, 0], ARM] < _SHADOW_ARM_M]
    shadow, to_shadow = shadow_map(vertices, casters, lights.directions[0])
    _shade(
        image[y : y + height, x : x + width],
        labels[y : y + height, x : x + width],
        (depth, face_of, weights),
        (faces, parts, attributes),
        np.array([*camera.focal_px, camera.principal_px[0] - x, camera.principal_px[1] - y], np.float32),
        (lights.directions.astype(np.float32), lights.colours.astype(np.float32), lights.ambient.astype(np.float32)),
        (np.float32(lights.gloss), np.float32(lights.specular)),
        (surface.texture, np.array([*surface.texture_origin_m, surface.texture_px_per_m], np.float32)),
        (
            surface.sleeve_from_m.astype(np.float32),
            surface.sleeve_colour.astype(np.float32),
            surface.nail_colour.astype(np.float32),
        ),
        (shadow, to_shadow.astype(np.float32)),
    )
    return labels


# Light wraps around skin: how far past the terminator each colour reaches (red scatters farthest).
_WRAP = (np.float32(0.34), np.float32(0.16), np.float32(0.10))
_SHADOW_BIAS_M = np.float32(0.0025)
_SHADOW_OFFSET_M = np.float32(0.0035)  # along the normal: keeps surfaces from shading themselves in stripes
_SAME_SURFACE_M = np.float32(0.004)
_RED_IN_SHADOW = np.float32(0.10)
# How much of the skin texture's darkening reaches each colour: creases are reddish.
_CREASE = (np.float32(0.72), np.float32(0.95), np.float32(1.0))
_HEM_M = np.float32(0.0016)


@njit(cache=True)
def _shade(
    image: Float32s,
    labels: Bytes,
    buffers: Any,
    mesh: Any,
    camera: Float32s,
    lights: Any,
    finish: Any,
    skin: Any,
    cover: Any,
    shadow: Any,
) -> None:
    """Resolves the samples: each surface within a pixel is shaded once and weighted with the samples it covers."""
    depth, face_of, weights = buffers
    faces, parts, attributes = mesh
    directions, colours, ambient = lights
    gloss, specular = finish
    texture, placing = skin
    sleeve_from, sleeve_colour, nail_colour = cover
    shadow_image, to_shadow = shadow
    height, width = labels.shape
    total = SAMPLES * SAMPLES
    share = np.float32(1.0 / total)
    used = np.zeros(total, np.bool_)
    value = np.empty(ATTRIBUTES, np.float32)
    light = np.empty(3, np.float32)
    shine = np.empty(3, np.float32)
    albedo = np.empty(3, np.float32)
    one, zero = np.float32(1.0), np.float32(0.0)
    for row in range(height):
        for column in range(width):
            hit = 0
            for sample in range(total):
                used[sample] = face_of[row * SAMPLES + sample // SAMPLES, column * SAMPLES + sample % SAMPLES] < 0
                if not used[sample]:
                    hit += 1
            if hit == 0:
                continue
            middle = face_of[row * SAMPLES + SAMPLES // 2, column * SAMPLES + SAMPLES // 2]
            if middle >= 0:
                labels[row, column] = parts[middle]
            for channel in range(3):
                image[row, column, channel] *= (total - hit) * share
            for sample in range(total):
                if used[sample]:
                    continue
                sy, sx = row * SAMPLES + sample // SAMPLES, column * SAMPLES + sample % SAMPLES
                face, z = face_of[sy, sx], depth[sy, sx]
                part = parts[face]
                count = 0
                for other in range(sample, total):
                    if used[other]:
                        continue
                    oy, ox = row * SAMPLES + other // SAMPLES, column * SAMPLES + other % SAMPLES
                    if parts[face_of[oy, ox]] == part and abs(depth[oy, ox] - z) < _SAME_SURFACE_M:
                        used[other] = True
                        count += 1
                w1, w2 = weights[sy, sx, 0], weights[sy, sx, 1]
                w0 = one - w1 - w2
                a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
                for k in range(ATTRIBUTES):
                    value[k] = w0 * attributes[a, k] + w1 * attributes[b, k] + w2 * attributes[c, k]
                nx, ny, nz = value[0], value[1], value[2]
                scale = one / np.sqrt(nx * nx + ny * ny + nz * nz + np.float32(1e-12))
                nx, ny, nz = nx * scale, ny * scale, nz * scale
                x = ((sx + np.float32(0.5)) / SAMPLES - camera[2]) / camera[0] * z
                y = ((sy + np.float32(0.5)) / SAMPLES - camera[3]) / camera[1] * z
                scale = -one / np.sqrt(x * x + y * y + z * z)
                vx, vy, vz = x * scale, y * scale, z * scale

                shininess = specular
                side = (part - 1) % 2
                beyond = value[ARM] - sleeve_from[side]
                if part > 2 and beyond > zero:
                    shininess = zero
                    hem = one - np.float32(0.35) * max(zero, one - beyond / (np.float32(3.0) * _HEM_M))
                    for channel in range(3):
                        albedo[channel] = sleeve_colour[channel] * hem
                else:
                    crease = _skin_texture(texture, placing, value[TEXTURE], value[TEXTURE + 1], value[PALM])
                    nail = min(max(value[NAIL] * np.float32(4.0) - np.float32(0.2), zero), one)
                    shininess *= one + np.float32(1.5) * nail
                    for channel in range(3):
                        bare = value[ALBEDO + channel] * (one - _CREASE[channel] * crease * (one - nail))
                        albedo[channel] = bare + np.float32(0.55) * nail * (nail_colour[channel] - bare)

                hemisphere = (np.float32(0.75) - np.float32(0.25) * ny) * value[OPEN]
                for channel in range(3):
                    light[channel] = ambient[channel] * hemisphere
                    shine[channel] = zero
                for k in range(directions.shape[0]):
                    lx, ly, lz = directions[k, 0], directions[k, 1], directions[k, 2]
                    facing = nx * lx + ny * ly + nz * lz
                    lit = one
                    if k == 0:
                        off = _SHADOW_OFFSET_M
                        lit = _lit(shadow_image, to_shadow, x + off * nx, y + off * ny, z + off * nz)
                    opened = np.float32(0.5) + np.float32(0.5) * value[OPEN]
                    for channel in range(3):
                        wrap = _WRAP[channel]
                        leak = _RED_IN_SHADOW if channel == 0 else zero
                        seen = leak + (one - leak) * lit
                        diffuse = max(zero, (facing + wrap) / (one + wrap))
                        light[channel] += colours[k, channel] * diffuse * seen * opened
                    if facing > zero and lit > zero and shininess > zero:
                        hx, hy, hz = lx + vx, ly + vy, lz + vz
                        along = (nx * hx + ny * hy + nz * hz) / np.sqrt(hx * hx + hy * hy + hz * hz + np.float32(1e-12))
                        if along > zero:
                            strength = shininess * np.exp(gloss * (along - one)) * lit
                            for channel in range(3):
                                shine[channel] += strength * colours[k, channel]
                for channel in range(3):
                    image[row, column, channel] += count * share * (albedo[channel] * light[channel] + shine[channel])


@njit(cache=True)
def _skin_texture(
    texture: Float32s, placing: Float32s, x_m: np.float32, z_m: np.float32, palm: np.float32
) -> np.float32:
    """Darkening at a skin point, blended between the texture of the back (0) and of the palm (1)."""
    height, width = texture.shape[1], texture.shape[2]
    u = (x_m - placing[0]) * placing[2] - np.float32(0.5)
    v = (z_m - placing[1]) * placing[2] - np.float32(0.5)
    u = min(max(u, np.float32(0.0)), np.float32(width - 1.001))
    v = min(max(v, np.float32(0.0)), np.float32(height - 1.001))
    i, j = int(u), int(v)
    fu, fv = u - np.float32(i), v - np.float32(j)
    one = np.float32(1.0)
    total = np.float32(0.0)
    for layer in range(2):
        share = palm if layer == 1 else one - palm
        if share <= np.float32(0.0):
            continue
        top = texture[layer, j, i] * (one - fu) + texture[layer, j, i + 1] * fu
        bottom = texture[layer, j + 1, i] * (one - fu) + texture[layer, j + 1, i + 1] * fu
        total += share * (top * (one - fv) + bottom * fv)
    return total


@njit(cache=True)
def _lit(image: Float32s, transform: Float32s, x: np.float32, y: np.float32, z: np.float32) -> np.float32:
    """How much of the first light reaches a point, 0..1: four shadow map cells, bilinear."""
    u = transform[0, 0] * x + transform[0, 1] * y + transform[0, 2] * z + transform[0, 3] - np.float32(0.5)
    v = transform[1, 0] * x + transform[1, 1] * y + transform[1, 2] * z + transform[1, 3] - np.float32(0.5)
    w = transform[2, 0] * x + transform[2, 1] * y + transform[2, 2] * z + transform[2, 3] - _SHADOW_BIAS_M
    one = np.float32(1.0)
    i, j = int(u), int(v)
    if u < np.float32(0.0) or v < np.float32(0.0) or i >= image.shape[1] - 1 or j >= image.shape[0] - 1:
        return one
    fu, fv = u - np.float32(i), v - np.float32(j)
    dark = np.float32(0.0)
    if image[j, i] < w:
        dark += (one - fu) * (one - fv)
    if image[j, i + 1] < w:
        dark += fu * (one - fv)
    if image[j + 1, i] < w:
        dark += (one - fu) * fv
    if image[j + 1, i + 1] < w:
        dark += fu * fv
    return one - dark


@njit(cache=True)
def openness(points: Floats, normals: Floats, centres: Floats, radii: Floats) -> Floats:
    """How open each surface point is to its surroundings, 0..1: spheres in front of it take light away."""
    result = np.empty(points.shape[0])
    for i in range(points.shape[0]):
        blocked = 0.0
        for j in range(centres.shape[0]):
            x = centres[j, 0] - points[i, 0]
            y = centres[j, 1] - points[i, 1]
            z = centres[j, 2] - points[i, 2]
            squared = x * x + y * y + z * z
            ahead = x * normals[i, 0] + y * normals[i, 1] + z * normals[i, 2]
            if ahead > 0.0 and squared < 0.01:
                reach = radii[j] * radii[j]
                blocked += ahead / np.sqrt(squared) * reach / max(squared, reach)
        result[i] = np.exp(-0.55 * blocked)
    return result


_LUMA = (np.float32(0.299), np.float32(0.587), np.float32(0.114))


@njit(cache=True)
def develop(
    linear: Float32s, gains: Float32s, curve: Float32s, noise: Float32s, start: Any, levels: Any, gray: bool, out: Bytes
) -> None:
    """Linear RGB (H, W, 3) -> BGR bytes: white balance and exposure, tone curve, sensor noise.

    `noise` is a square bank of normal deviates, wrapped around from `start` (row, column) on; `levels` are its read and
    shot parts, in units of white.
    """
    height, width = linear.shape[:2]
    size = noise.shape[0]
    last = curve.shape[0] - 1
    read, shot = levels
    for row in range(height):
        for column in range(width):
            mean = np.float32(0.0)
            for channel in range(3):
                level = min(max(linear[row, column, channel] * gains[channel], np.float32(0.0)), np.float32(1.0))
                # Shift the bank per colour, so that noise is coloured as a sensor's is.
                i = (row + start[0] + 173 * channel) % size
                j = (column + start[1] + 331 * channel) % size
                shown = curve[int(level * last)]
                shown += noise[i, j] * (read + shot * np.sqrt(shown))
                shown = min(max(shown, np.float32(0.0)), np.float32(1.0))
                mean += shown * _LUMA[channel]
                if not gray:
                    out[row, column, 2 - channel] = np.uint8(shown * np.float32(255.0) + np.float32(0.5))
            if gray:
                for channel in range(3):
                    out[row, column, channel] = np.uint8(mean * np.float32(255.0) + np.float32(0.5))
