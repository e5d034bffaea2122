"""Meshes as Wavefront OBJ files, which every 3D program opens."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.files import write_text_atomic
from runtime.hand.hands import Hands


def write_obj(
    path: str | os.PathLike[str],
    vertices: NDArray[np.floating[Any]],
    faces: NDArray[np.integer[Any]],
    comment: str = "metres",
) -> None:
    """Write vertices (V, 3) and triangles (F, 3), counted from 0, atomically."""
    lines = [f"# {' '.join(comment.split())}"]
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (faces + 1).tolist()]
    write_text_atomic(path, "\n".join(lines) + "\n")


def write_hands(folder: Path, stem: str, hands: Hands) -> list[Path]:
    """Write `<stem>_right.obj` and `<stem>_left.obj` of the hands that are present, in one frame.

    Its axes are the camera's and its origin is the right wrist, or the left one where that hand is alone.
    """
    paths = []
    for hand in hands.present:
        together = hand.side == "left" and hands.right.present
        vertices = hand.vertices + hands.relative_translation if together else hand.vertices
        path = folder / f"{stem}_{hand.side}.obj"
        write_obj(path, vertices, hand.faces, f"{hand.side} hand, metres; x right, y down, z away from the camera")
        paths.append(path)
    return paths
