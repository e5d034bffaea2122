"""The colour of what is drawn: skin and sleeves, wrapped light, highlights, one shadow map. Colours are linear RGB.

What a pixel or a point costs stands in functions of its own; the loops over them are thin.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from training.data.synthhands.arrays import Bytes, Float32s, Floats, Int32s
from training.data.synthhands.drawing.rasteriser import Buffers, Pinhole, empty_buffers, rasterise
from training.data.synthhands.kernels import kernel, part_of_kernel

SAMPLES = 2  # per pixel and axis
_TOTAL = SAMPLES * SAMPLES
_DRAWN_MARGIN_PX = 2
SHADOW_PX = 256
_SHADOW_ARM_M = 0.22  # arms cast shadows up to here: the map is for the hands
_SHADOW_MARGIN_PX = 4
_SHADOW_BIAS_M = np.float32(0.0025)
_SHADOW_OFFSET_M = np.float32(0.0035)  # along the normal: keeps surfaces from shading themselves in stripes
# Light wraps around skin: how far past the terminator each colour reaches (red scatters farthest).
_WRAP = (np.float32(0.34), np.float32(0.16), np.float32(0.10))
_SAME_SURFACE_M = np.float32(0.004)
_RED_IN_SHADOW = np.float32(0.10)
# How much of the skin texture's darkening reaches each colour: creases are reddish.
_CREASE = (np.float32(0.72), np.float32(0.95), np.float32(1.0))
_HEM_M = np.float32(0.0016)
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)

# Columns of the per-vertex attributes that are interpolated over a triangle.
NORMAL, ALBEDO, TEXTURE, PALM, NAIL, ARM, OPEN = 0, 3, 6, 8, 9, 10, 11
ATTRIBUTES = 12


class Lights(NamedTuple):
    """The first light casts the shadow."""

    directions: Floats  # (K, 3) unit, towards the light, camera axes
    colours: Floats  # (K, 3)
    ambient: Floats  # (3,)


class Surface(NamedTuple):
    """What the drawn triangles are covered with."""

    texture: Float32s  # (2, H, W) skin darkening: back of the hand, palm
    texture_place: Floats  # (3,) the texture's corner in its own x and z, m, and its pixels per metre
    sleeve_from_m: Floats  # (2,) along each arm, right and left; beyond the arm's end for bare arms
    sleeve_colour: Floats  # (3,)
    nail_colour: Floats  # (3,)
    gloss: float  # exponent-like sharpness of highlights
    specular: float


class Mesh(NamedTuple):
    """The triangles of everything drawn."""

    faces: Int32s  # (F, 3)
    parts: Bytes  # (F,) as in meshes
    attributes: Float32s  # (V, ATTRIBUTES)


class Shadow(NamedTuple):
    """What the first light sees."""

    depth: Float32s  # (SHADOW_PX, SHADOW_PX)
    transform: Floats  # (3, 4) from camera space to pixels and depth


class Work(NamedTuple):
    """A pixel's scratch numbers."""

    value: Float32s  # (ATTRIBUTES,)
    albedo: Float32s  # (3,)
    light: Float32s  # (3,)
    shine: Float32s  # (3,) what is mirrored to the camera


class Task(NamedTuple):
    """What `_shade` needs beside the picture."""

    buffers: Buffers
    mesh: Mesh
    camera: Float32s  # (4,) focal length and principal point, px of the picture
    lights: Lights
    surface: Surface
    shadow: Shadow


def draw(image: Float32s, vertices: Floats, mesh: Mesh, camera: Pinhole, lights: Lights, surface: Surface) -> Bytes:
    """Draws camera-space triangles over `image` (H, W, 3), the background. Returns the parts (H, W) that are seen."""
    labels = np.zeros(image.shape[:2], np.uint8)
    pixels = camera.project(vertices)
    low = np.clip(np.floor(pixels.min(axis=0)).astype(int) - _DRAWN_MARGIN_PX, 0, camera.size_px)
    high = np.clip(np.ceil(pixels.max(axis=0)).astype(int) + _DRAWN_MARGIN_PX, 0, camera.size_px)
    if (high <= low).any():
        return labels
    width, height = (high - low).tolist()
    buffers = empty_buffers((height * SAMPLES, width * SAMPLES), weights=True)
    rasterise((pixels - low) * SAMPLES, 1 / vertices[:, 2], mesh.faces, mesh.parts, False, buffers)
    casters = mesh.faces[mesh.attributes[mesh.faces[:, 0], ARM] < _SHADOW_ARM_M]
    shadow = shadow_map(vertices, casters, lights.directions[0])
    camera_px = np.array([*camera.focal_px, *(camera.principal_px - low)], np.float32)
    task = Task(buffers, mesh, camera_px, _single(lights), _single(surface), _single(shadow))
    drawn = slice(low[1], high[1]), slice(low[0], high[0])
    _shade(image[drawn], labels[drawn], task, Work(*(np.empty(n, np.float32) for n in (ATTRIBUTES, 3, 3, 3))))
    return labels


def _single(values: Any) -> Any:
    """A named tuple with its numbers in float32, as the kernels take them."""
    return type(values)(*(np.asarray(value, np.float32)[()] for value in values))


def shadow_map(vertices: Floats, faces: Int32s, light: Floats) -> Shadow:
    """The depth image seen from a light far away towards `light` (3,)."""
    away = -light
    across = np.cross(away, np.array([0.0, 1.0, 0.1]))
    across /= np.sqrt((across * across).sum())
    axes = np.stack([across, np.cross(away, across), away])
    placed = vertices[np.unique(faces)] @ axes.T
    low = placed.min(axis=0)
    scale = (SHADOW_PX - 2 * _SHADOW_MARGIN_PX) / (placed[:, :2].max(axis=0) - low[:2]).max()
    transform = np.zeros((3, 4))
    transform[:2, :3] = axes[:2] * scale
    transform[:2, 3] = _SHADOW_MARGIN_PX - low[:2] * scale
    transform[2, :3] = axes[2]
    points = vertices @ transform[:, :3].T + transform[:, 3]
    buffers = empty_buffers((SHADOW_PX, SHADOW_PX))
    rasterise(points[:, :2], points[:, 2], faces, np.empty(0, np.uint8), True, buffers)
    return Shadow(buffers.depth, transform)


@kernel
def _shade(image: Float32s, labels: Bytes, task: Task, work: Work) -> None:
    """Resolves the samples: each surface within a pixel is shaded once and weighted with the samples it covers."""
    for row in range(labels.shape[0]):
        for column in range(labels.shape[1]):
            _shade_pixel(row, column, image, labels, task, work)


@part_of_kernel
def _shade_pixel(row: int, column: int, image: Float32s, labels: Bytes, task: Task, work: Work) -> None:
    face_of, depth, parts = task.buffers.face_of, task.buffers.depth, task.mesh.parts
    middle = face_of[row * SAMPLES + SAMPLES // 2, column * SAMPLES + SAMPLES // 2]
    if middle >= 0:
        labels[row, column] = parts[middle]
    done, hit = 0, 0  # done: samples, as bits
    for sample in range(_TOTAL):
        if face_of[row * SAMPLES + sample // SAMPLES, column * SAMPLES + sample % SAMPLES] < 0:
            done |= 1 << sample
        else:
            hit += 1
    if hit == 0:
        return
    share = np.float32(1.0 / _TOTAL)
    for channel in range(3):
        image[row, column, channel] *= (_TOTAL - hit) * share
    for sample in range(_TOTAL):
        if done >> sample & 1:
            continue
        sy, sx = row * SAMPLES + sample // SAMPLES, column * SAMPLES + sample % SAMPLES
        part, z = parts[face_of[sy, sx]], depth[sy, sx]
        count = 0
        for other in range(sample, _TOTAL):
            oy, ox = row * SAMPLES + other // SAMPLES, column * SAMPLES + other % SAMPLES
            if done >> other & 1 or parts[face_of[oy, ox]] != part or abs(depth[oy, ox] - z) >= _SAME_SURFACE_M:
                continue
            done |= 1 << other
            count += 1
        _interpolate(task, sy, sx, work.value)
        x = ((sx + _HALF) / SAMPLES - task.camera[2]) / task.camera[0] * z
        y = ((sy + _HALF) / SAMPLES - task.camera[3]) / task.camera[1] * z
        shininess = _cover(part, task.surface, work)
        _illuminate(x, y, z, shininess, task, work)
        for channel in range(3):
            shown = work.albedo[channel] * work.light[channel] + work.shine[channel]
            image[row, column, channel] += count * share * shown


@part_of_kernel
def _interpolate(task: Task, row: int, column: int, value: Float32s) -> None:
    """Fills `value` with the attributes of the face at a sample."""
    attributes, face = task.mesh.attributes, task.buffers.face_of[row, column]
    w1, w2 = task.buffers.weights[row, column, 0], task.buffers.weights[row, column, 1]
    w0 = _ONE - w1 - w2
    a, b, c = task.mesh.faces[face, 0], task.mesh.faces[face, 1], task.mesh.faces[face, 2]
    for k in range(ATTRIBUTES):
        value[k] = w0 * attributes[a, k] + w1 * attributes[b, k] + w2 * attributes[c, k]


@part_of_kernel
def _cover(part: int, surface: Surface, work: Work) -> np.float32:
    """Fills `albedo` with the colour of sleeve or skin; returns how strongly it shines."""
    value, albedo = work.value, work.albedo
    beyond = value[ARM] - surface.sleeve_from_m[(part - 1) % 2]
    if part > 2 and beyond > _ZERO:
        hem = _ONE - np.float32(0.35) * max(_ZERO, _ONE - beyond / (np.float32(3.0) * _HEM_M))
        for channel in range(3):
            albedo[channel] = surface.sleeve_colour[channel] * hem
        return _ZERO
    crease = _skin_texture(surface, value[TEXTURE], value[TEXTURE + 1], value[PALM])
    nail = min(max(value[NAIL] * np.float32(4.0) - np.float32(0.2), _ZERO), _ONE)
    for channel in range(3):
        bare = value[ALBEDO + channel] * (_ONE - _CREASE[channel] * crease * (_ONE - nail))
        albedo[channel] = bare + np.float32(0.55) * nail * (surface.nail_colour[channel] - bare)
    return surface.specular * (_ONE + np.float32(1.5) * nail)


@part_of_kernel
def _skin_texture(surface: Surface, x_m: np.float32, z_m: np.float32, palm: np.float32) -> np.float32:
    """Darkening at a skin point, blended between the texture of the back (0) and of the palm (1)."""
    texture, place = surface.texture, surface.texture_place
    height, width = texture.shape[1], texture.shape[2]
    u = (x_m - place[0]) * place[2] - _HALF
    v = (z_m - place[1]) * place[2] - _HALF
    u = min(max(u, _ZERO), np.float32(width - 1.001))
    v = min(max(v, _ZERO), np.float32(height - 1.001))
    i, j = int(u), int(v)
    fu, fv = u - np.float32(i), v - np.float32(j)
    total = _ZERO
    for layer in range(2):
        share = palm if layer == 1 else _ONE - palm
        if share <= _ZERO:
            continue
        top = texture[layer, j, i] * (_ONE - fu) + texture[layer, j, i + 1] * fu
        bottom = texture[layer, j + 1, i] * (_ONE - fu) + texture[layer, j + 1, i + 1] * fu
        total += share * (top * (_ONE - fv) + bottom * fv)
    return total


@part_of_kernel
def _illuminate(x: float, y: float, z: np.float32, shininess: np.float32, task: Task, work: Work) -> None:
    """Fills `light` and `shine` with what falls on a point in camera space, and what it mirrors to the camera."""
    lights, value, light, shine = task.lights, work.value, work.light, work.shine
    nx, ny, nz = value[NORMAL], value[NORMAL + 1], value[NORMAL + 2]
    scale = _ONE / np.sqrt(nx * nx + ny * ny + nz * nz + np.float32(1e-12))
    nx, ny, nz = nx * scale, ny * scale, nz * scale
    to_camera = -_ONE / np.sqrt(x * x + y * y + z * z)
    hemisphere = (np.float32(0.75) - np.float32(0.25) * ny) * value[OPEN]
    opened = _HALF + _HALF * value[OPEN]
    for channel in range(3):
        light[channel] = lights.ambient[channel] * hemisphere
        shine[channel] = _ZERO
    for k in range(lights.directions.shape[0]):
        lx, ly, lz = lights.directions[k, 0], lights.directions[k, 1], lights.directions[k, 2]
        facing = nx * lx + ny * ly + nz * lz
        lit = _ONE
        if k == 0:
            off = _SHADOW_OFFSET_M
            lit = lit_share(task.shadow, x + off * nx, y + off * ny, z + off * nz)
        for channel in range(3):
            leak = _RED_IN_SHADOW if channel == 0 else _ZERO
            seen = leak + (_ONE - leak) * lit
            diffuse = max(_ZERO, (facing + _WRAP[channel]) / (_ONE + _WRAP[channel]))
            light[channel] += lights.colours[k, channel] * diffuse * seen * opened
        if facing > _ZERO and lit > _ZERO and shininess > _ZERO:
            hx, hy, hz = lx + x * to_camera, ly + y * to_camera, lz + z * to_camera
            along = (nx * hx + ny * hy + nz * hz) / np.sqrt(hx * hx + hy * hy + hz * hz + np.float32(1e-12))
            if along > _ZERO:
                strength = shininess * np.exp(task.surface.gloss * (along - _ONE)) * lit
                for channel in range(3):
                    shine[channel] += strength * lights.colours[k, channel]


@part_of_kernel
def lit_share(shadow: Shadow, x: float, y: float, z: float) -> np.floating:
    """How much of the first light reaches a point in camera space, 0..1: four shadow map cells, bilinear."""
    image, to = shadow.depth, shadow.transform
    u = to[0, 0] * x + to[0, 1] * y + to[0, 2] * z + to[0, 3] - _HALF
    v = to[1, 0] * x + to[1, 1] * y + to[1, 2] * z + to[1, 3] - _HALF
    w = to[2, 0] * x + to[2, 1] * y + to[2, 2] * z + to[2, 3] - _SHADOW_BIAS_M
    i, j = int(u), int(v)
    if u < _ZERO or v < _ZERO or i >= image.shape[1] - 1 or j >= image.shape[0] - 1:
        return _ONE
    fu, fv = u - np.float32(i), v - np.float32(j)
    dark = _ZERO
    for down in range(2):
        for right in range(2):
            if image[j + down, i + right] < w:
                dark += (fu if right else _ONE - fu) * (fv if down else _ONE - fv)
    return _ONE - dark


@kernel
def openness(points: Floats, normals: Floats, centres: Floats, radii: Floats, result: Float32s) -> None:
    """Fills `result` (V,) with how open each point is to its surroundings, 0..1: spheres in front take light away."""
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
