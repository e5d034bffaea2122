"""Reduction of a disk-like triangle mesh by half-edge collapses (quadric error, Garland and Heckbert 1997).

Half-edge collapses keep a subset of the vertices where they are, so that weights and shapes carry over by index. A
collapse that would flip a face or leave a sliver is not made; edges are flipped at the end where that opens an angle.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_VALENCE = 9
MIN_COSINE = 0.3  # between a face's normals before and after
EDGE_SCALE_M = 0.006  # longer edges cost more


class _Mesh:
    """Faces and their neighbourhoods while vertices disappear."""

    def __init__(self, vertices: Floats, faces: Ints) -> None:
        self.vertices = vertices
        self.faces = [tuple(map(int, face)) for face in faces]
        self.faces_of: dict[int, set[int]] = defaultdict(set)
        self.quadrics = np.zeros((len(vertices), 4, 4))
        for index, face in enumerate(self.faces):
            corners = vertices[list(face)]
            normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
            area = np.linalg.norm(normal) / 2
            plane = np.append(normal, -normal @ corners[0]) / (2 * area)
            self.quadrics[list(face)] += area * np.outer(plane, plane)
            for vertex in face:
                self.faces_of[vertex].add(index)
        sides = Counter(frozenset((face[i], face[i - 1])) for face in self.faces for i in range(3))
        self.boundary = {vertex for side, count in sides.items() if count == 1 for vertex in side}

    def neighbours(self, vertex: int) -> set[int]:
        return {other for index in self.faces_of[vertex] for other in self.faces[index]} - {vertex}

    def cost(self, gone: int, kept: int) -> float:
        place = np.append(self.vertices[kept], 1)
        length = float(np.linalg.norm(self.vertices[gone] - self.vertices[kept]))
        error = place @ (self.quadrics[gone] + self.quadrics[kept]) @ place + 2e-7 * length**2
        return float(error * (1 + (length / EDGE_SCALE_M) ** 2))

    def keeps_boundary(self, gone: int, kept: int) -> bool:
        """Boundary vertices go along the boundary only."""
        if gone not in self.boundary:
            return True
        return kept in self.boundary and sum(kept in self.faces[index] for index in self.faces_of[gone]) == 1

    def may_collapse(self, gone: int, kept: int, min_angle: float) -> bool:
        shared = [index for index in self.faces_of[gone] if kept in self.faces[index]]
        if len(self.neighbours(gone) & self.neighbours(kept)) != len(shared) or not shared:
            return False
        if len(self.faces_of[gone]) + len(self.faces_of[kept]) - 4 > MAX_VALENCE:
            return False
        for index in self.faces_of[gone] - set(shared):
            before = self.vertices[list(self.faces[index])]
            after = self.vertices[[kept if v == gone else v for v in self.faces[index]]]
            if _normal(before) @ _normal(after) < MIN_COSINE:
                return False
            if smallest_angle(after) < min(min_angle, 0.95 * smallest_angle(before)):
                return False
        return True

    def collapse(self, gone: int, kept: int) -> set[int]:
        """The vertices around."""
        for index in self.faces_of.pop(gone):
            face = self.faces[index]
            if kept in face:
                for vertex in set(face) - {gone}:
                    self.faces_of[vertex].discard(index)
            else:
                self.faces[index] = tuple(kept if v == gone else v for v in face)
                self.faces_of[kept].add(index)
        self.quadrics[kept] += self.quadrics[gone]
        return self.neighbours(kept) | {kept}


def reduce_mesh(
    vertices: Floats, faces: Ints, count: int, boundary: int, keep: set[int], min_angle_deg: float
) -> tuple[Ints, Ints]:
    """Kept vertices (count,) and faces over them, with `boundary` vertices on the one boundary loop.

    `keep` are vertices that must stay. Raises ValueError where the mesh cannot be reduced that far.
    """
    mesh, min_angle = _Mesh(vertices, faces), np.deg2rad(min_angle_deg)
    version = np.zeros(len(vertices), int)  # of a vertex's neighbourhood: costs of earlier ones are stale
    heap: list[tuple[float, int, int, int, int]] = []

    def push(gone: int, kept: int) -> None:
        if gone not in keep and mesh.keeps_boundary(gone, kept):
            heapq.heappush(heap, (mesh.cost(gone, kept), gone, kept, int(version[gone]), int(version[kept])))

    left, left_boundary = len(vertices), len(mesh.boundary)
    for vertex in list(mesh.faces_of):
        for other in mesh.neighbours(vertex):
            push(vertex, other)
    while left > count:
        if not heap:
            raise ValueError(f"cannot reduce below {left} vertices")
        _, gone, kept, *versions = heapq.heappop(heap)
        if [version[gone], version[kept]] != versions or gone not in mesh.faces_of or kept not in mesh.faces_of:
            continue
        at_boundary, room = gone in mesh.boundary, left_boundary - boundary
        if (room == 0 if at_boundary else left - room <= count) or not mesh.may_collapse(gone, kept, min_angle):
            continue
        ring = mesh.collapse(gone, kept)
        left, left_boundary = left - 1, left_boundary - at_boundary
        version[list(ring)] += 1
        for vertex in ring:
            for other in mesh.neighbours(vertex):
                push(vertex, other)
                push(other, vertex)
    kept_vertices = np.array(sorted(mesh.faces_of))
    alive = sorted({index for around in mesh.faces_of.values() for index in around})
    reduced = np.searchsorted(kept_vertices, np.array([mesh.faces[index] for index in alive]))
    return kept_vertices, flip_edges(vertices[kept_vertices], reduced)


def flip_edges(vertices: Floats, faces: Ints) -> Ints:
    """Flip inner edges as long as that opens the smaller of the two faces' smallest angles."""
    faces = faces.copy()
    for _ in range(20):
        owners = {(int(f[i]), int(f[(i + 1) % 3])): index for index, f in enumerate(faces) for i in range(3)}
        changed: set[int] = set()
        for (a, b), first in owners.items():
            second = owners.get((b, a))
            if second is None or a > b or {first, second} & changed:
                continue
            c, d = (int(next(v for v in faces[index] if v not in (a, b))) for index in (first, second))
            if c == d or (c, d) in owners or (d, c) in owners:
                continue
            now, flipped = ([a, b, c], [b, a, d]), ([c, a, d], [d, b, c])
            if min(_normal(vertices[f]) @ _normal(vertices[n]) for f in flipped for n in now) < 0.5:
                continue
            before, after = (min(smallest_angle(vertices[f]) for f in pair) for pair in (now, flipped))
            if after > before + 1e-6:
                faces[first], faces[second] = flipped
                for vertex in (a, b, c, d):  # the neighbourhood has to be looked at afresh
                    changed |= {first, second, *np.flatnonzero((faces == vertex).any(axis=1)).tolist()}
        if not changed:
            break
    return faces


def smallest_angle(corners: Floats) -> float:
    """(3, 3) -> radians."""
    sides = np.roll(corners, -1, axis=0) - corners
    sides /= np.maximum(np.linalg.norm(sides, axis=1, keepdims=True), 1e-12)
    cosines = -(sides * np.roll(sides, 1, axis=0)).sum(axis=1)
    return float(np.arccos(np.clip(cosines.max(), -1, 1)))


def _normal(corners: Floats) -> Floats:
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    return normal / max(np.linalg.norm(normal), 1e-15)
