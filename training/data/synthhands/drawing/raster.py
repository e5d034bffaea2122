"""From vertices to what is nearest at each sample: the kernels before any colour.

Sample centres lie at integers + 0.5. Camera axes are x right, y down, z away; triangles are counter-clockwise seen from
outside. Arrays have a picture axis B first; V vertices and F faces of the topology stand for all pictures.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from training.data.synthhands.arrays import Bytes, Float32s, Int32s, Ints
from training.data.synthhands.kernels import kernel, lower, part_of_kernel

f32: Any = np.float32  # numba would make float64 of plain numbers
NOTHING = np.iinfo(np.int64).max  # of a key: what is nearest is the smallest
FAR = f32(1e9)
_DEPTH_STEPS = f32(1 << 20)  # per metre, in a key
_HALF, _ZERO, _ONE = f32(0.5), f32(0.0), f32(1.0)

# Columns of `views`: rotation, position, then camera axes / depth -> drawn pixels as a matrix and an offset.
POSITION, LINEAR, OFFSET, VIEW_SIZE = 9, 12, 16, 18


class Mesh(NamedTuple):
    """Topology of everything that may be drawn, and what stays with a drawn vertex whatever the pose."""

    starts: Int32s  # (V + 1,) drawn vertex v is the sum of weights x coarse vertices columns, from starts[v] on
    columns: Int32s
    weights: Float32s
    faces: Int32s  # (F, 3)
    parts: Bytes  # (F,) as in meshes
    owners: Bytes  # (F,) which of a picture's things a face belongs to
    casts: Bytes  # (F,) whether it casts a shadow
    around_starts: Int32s  # (V + 1,) the faces at each vertex
    around: Int32s
    material: Float32s  # (V, MATERIAL_SIZE)


@kernel
def place_vertices(
    first: int, step: int, count: int, mesh: Mesh, coarse: Float32s, views: Float32s, seen: Float32s, pixels: Float32s
) -> None:
    """Subdivide (B, C, 3) and see it: `seen` (B, V, 3) in camera axes, `pixels` (B, V, 3) x, y and inverse depth."""
    total = seen.shape[1]
    for i in range(first, count, step):
        b, v = i // total, i % total
        x, y, z = _ZERO, _ZERO, _ZERO
        for k in range(mesh.starts[v], mesh.starts[v + 1]):
            w, c = mesh.weights[k], mesh.columns[k]
            x += w * coarse[b, c, 0]
            y += w * coarse[b, c, 1]
            z += w * coarse[b, c, 2]
        x -= views[b, POSITION]
        y -= views[b, POSITION + 1]
        z -= views[b, POSITION + 2]
        for k in range(3):
            seen[b, v, k] = views[b, 3 * k] * x + views[b, 3 * k + 1] * y + views[b, 3 * k + 2] * z
        depth = seen[b, v, 2]
        if depth < f32(1e-3):
            pixels[b, v, 2] = -_ONE  # behind the camera
            continue
        across, down = seen[b, v, 0] / depth, seen[b, v, 1] / depth
        for k in range(2):
            turned = views[b, LINEAR + 2 * k] * across + views[b, LINEAR + 2 * k + 1] * down
            pixels[b, v, k] = turned + views[b, OFFSET + k]
        pixels[b, v, 2] = _ONE / depth


@kernel
def find_normals(
    first: int, step: int, count: int, mesh: Mesh, seen: Float32s, spheres: Float32s, normals: Float32s
) -> None:
    """Fill `normals` (B, V, 4): unit normals, faces weighted by area, and how open a vertex is to its surroundings.

    Spheres (B, N, 4) in camera axes, of radius 0 where there is none, take light away from what looks at them.
    """
    total = seen.shape[1]
    for i in range(first, count, step):
        b, v = i // total, i % total
        nx, ny, nz = _ZERO, _ZERO, _ZERO
        for k in range(mesh.around_starts[v], mesh.around_starts[v + 1]):
            face = mesh.around[k]
            p, q, r = mesh.faces[face, 0], mesh.faces[face, 1], mesh.faces[face, 2]
            ax, ay, az = seen[b, q, 0] - seen[b, p, 0], seen[b, q, 1] - seen[b, p, 1], seen[b, q, 2] - seen[b, p, 2]
            bx, by, bz = seen[b, r, 0] - seen[b, p, 0], seen[b, r, 1] - seen[b, p, 1], seen[b, r, 2] - seen[b, p, 2]
            nx += ay * bz - az * by
            ny += az * bx - ax * bz
            nz += ax * by - ay * bx
        scale = _ONE / max(math.sqrt(nx * nx + ny * ny + nz * nz), f32(1e-20))
        nx, ny, nz = nx * scale, ny * scale, nz * scale
        blocked = _ZERO
        for k in range(spheres.shape[1]):
            reach = spheres[b, k, 3] * spheres[b, k, 3]
            x = spheres[b, k, 0] - seen[b, v, 0]
            y = spheres[b, k, 1] - seen[b, v, 1]
            z = spheres[b, k, 2] - seen[b, v, 2]
            squared, ahead = x * x + y * y + z * z, x * nx + y * ny + z * nz
            if reach > _ZERO and ahead > _ZERO and squared < f32(0.01):
                blocked += ahead / math.sqrt(squared) * reach / max(squared, reach)
        normals[b, v, 0], normals[b, v, 1], normals[b, v, 2] = nx, ny, nz
        normals[b, v, 3] = math.exp(f32(-0.55) * blocked)


@kernel
def rasterise(first: int, step: int, count: int, mesh: Mesh, shown: Bytes, pixels: Float32s, nearest: Ints) -> None:
    """Draw all faces that are `shown` (B, owners) and look at the camera; `nearest` (B, H, W) keeps key_of(...)."""
    total = mesh.faces.shape[0]
    for i in range(first, count, step):
        b, face = i // total, i % total
        if not shown[b, mesh.owners[face]]:
            continue
        p, q, r = mesh.faces[face, 0], mesh.faces[face, 1], mesh.faces[face, 2]
        q0, q1, q2 = pixels[b, p, 2], pixels[b, q, 2], pixels[b, r, 2]
        if min(q0, q1, q2) <= _ZERO:
            continue
        x0, y0 = pixels[b, p, 0], pixels[b, p, 1]
        x1, y1 = pixels[b, q, 0] - x0, pixels[b, q, 1] - y0
        x2, y2 = pixels[b, r, 0] - x0, pixels[b, r, 1] - y0
        area = x1 * y2 - x2 * y1
        if area >= _ZERO:  # seen from behind, in image axes with y down
            continue
        inverse = _ONE / area
        top, bottom = _span(y0, y1, y2, nearest.shape[1])
        left, right = _span(x0, x1, x2, nearest.shape[2])
        for row in range(top, bottom + 1):
            y = f32(row) + _HALF - y0
            for column in range(left, right + 1):
                x = f32(column) + _HALF - x0
                w1, w2 = (x * y2 - x2 * y) * inverse, (x1 * y - x * y1) * inverse
                w0 = _ONE - w1 - w2
                if w0 >= _ZERO and w1 >= _ZERO and w2 >= _ZERO:
                    depth = _ONE / (w0 * q0 + w1 * q1 + w2 * q2)
                    lower(nearest, (b, row, column), (np.int64(depth * _DEPTH_STEPS) << 32) | face)


@kernel
def cast_shadows(
    first: int, step: int, count: int, mesh: Mesh, shown: Bytes, seen: Float32s, to_light: Float32s, depths: Float32s
) -> None:
    """Draw the faces that cast (F,) as the first light sees them: `depths` (B, S, S) by `to_light` (B, 3, 4)."""
    total = mesh.faces.shape[0]
    for i in range(first, count, step):
        b, face = i // total, i % total
        if not (mesh.casts[face] and shown[b, mesh.owners[face]]):
            continue
        p, q, r = mesh.faces[face, 0], mesh.faces[face, 1], mesh.faces[face, 2]
        x0, y0, z0 = _towards_light(to_light, seen, b, p)
        x1, y1, z1 = _towards_light(to_light, seen, b, q)
        x2, y2, z2 = _towards_light(to_light, seen, b, r)
        x1, y1, x2, y2 = x1 - x0, y1 - y0, x2 - x0, y2 - y0
        area = x1 * y2 - x2 * y1
        if area == _ZERO:
            continue
        inverse = _ONE / area
        top, bottom = _span(y0, y1, y2, depths.shape[1])
        left, right = _span(x0, x1, x2, depths.shape[2])
        for row in range(top, bottom + 1):
            y = f32(row) + _HALF - y0
            for column in range(left, right + 1):
                x = f32(column) + _HALF - x0
                w1, w2 = (x * y2 - x2 * y) * inverse, (x1 * y - x * y1) * inverse
                if w1 >= _ZERO and w2 >= _ZERO and w1 + w2 <= _ONE:
                    lower(depths, (b, row, column), (_ONE - w1 - w2) * z0 + w1 * z1 + w2 * z2)


@part_of_kernel
def _towards_light(to_light: Float32s, seen: Float32s, b: int, vertex: int) -> tuple[float, float, float]:
    x, y, z = seen[b, vertex, 0], seen[b, vertex, 1], seen[b, vertex, 2]
    u = to_light[b, 0, 0] * x + to_light[b, 0, 1] * y + to_light[b, 0, 2] * z + to_light[b, 0, 3]
    v = to_light[b, 1, 0] * x + to_light[b, 1, 1] * y + to_light[b, 1, 2] * z + to_light[b, 1, 3]
    w = to_light[b, 2, 0] * x + to_light[b, 2, 1] * y + to_light[b, 2, 2] * z + to_light[b, 2, 3]
    return u, v, w


@part_of_kernel
def _span(start: float, a: float, b: float, size: int) -> tuple[int, int]:
    """The first and last sample between start and start + a, start + b."""
    low = start + min(_ZERO, min(a, b)) - _HALF
    high = start + max(_ZERO, max(a, b)) - _HALF
    return -rounded_down(-max(low, _ZERO)), rounded_down(min(high, f32(size - 1)))


@part_of_kernel
def between(a: float, b: float, share: float) -> float:
    """From a to b."""
    return a * (_ONE - share) + b * share


@part_of_kernel
def rounded_down(x: float) -> int:
    """The whole number below; math.floor gives one on a CPU only."""
    return int(math.floor(x))  # noqa: RUF046


@part_of_kernel
def pixel_of(i: int, height: int, width: int) -> tuple[int, int, int]:
    """Picture, row and column of an item; divisions are slow."""
    b = i // (height * width)
    rest = i - b * height * width
    row = rest // width
    return b, row, rest - row * width


@part_of_kernel
def face_of(key: int) -> int:
    """The face of a key."""
    return int(key & 0xFFFFFFFF)


@part_of_kernel
def depth_of(key: int) -> float:
    """The depth of a key, m."""
    return f32(key >> 32) / _DEPTH_STEPS
