"""What the runtime gives back for one image.

Camera axes: x right, y down, z away. Joints are in the order of `runtime.hand.joints`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .joints import JOINT_NAMES

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

# Orange and blue of Okabe and Ito's palette, which colour-blind people tell apart.
COLOURS = {"right": (240, 150, 25), "left": (60, 150, 220)}  # RGB

_MM = 1000
_MIN_LENGTH = 1e-12
_MIN_PX_PER_M = 1e-6
_TO_CAMERA = np.array([0, 0, -1], np.float32)


@dataclass(frozen=True, eq=False)
class Hand:
    """One hand. The numbers are there, and mean nothing, when it is not `present`."""

    side: Literal["right", "left"]
    present: bool
    presence: float  # probability, 0..1
    mesh: Callable[[], Floats]  # gives `vertices`
    joints: Floats  # (21, 3) m, relative to the wrist joint, camera axes; of the mesh
    joints_image: Floats  # (21, 2) px of the full image: the mesh's joints seen through `camera`
    joints_heatmap: Floats  # (21, 3): x, y px of the full image, z m from the wrist; from the heat maps, not the mesh
    rotations: Floats  # (16, 3, 3), MANO's joint order, the wrist's in camera axes
    shape: Floats  # (10,) shape coefficients
    camera: Floats  # (3,) scale (px of the full image per m), x, y (px, where the wrist is): px = scale * m + (x, y)
    faces: Ints  # (1538, 3) vertices of each triangle, counter-clockwise seen from outside

    @cached_property
    def vertices(self) -> Floats:
        """(778, 3) m, relative to the wrist joint, camera axes; computed when first asked for."""
        return self.mesh()

    def __getstate__(self) -> dict[str, Any]:
        """With the vertices themselves: how they come about holds a hand model."""
        return {**self.__dict__, "mesh": partial(np.asarray, self.vertices)}

    def project(self, points: NDArray[np.floating[Any]]) -> Floats:
        """(..., 3) wrist-relative metres -> (..., 2) px of the full image (a scaled orthographic camera)."""
        return np.asarray(self.camera[0] * points[..., :2] + self.camera[1:], np.float32)

    def normals(self) -> Floats:
        """(778, 3) unit vectors out of the mesh at its vertices, camera axes; larger faces weigh more."""
        corners = self.vertices[self.faces]
        weighted = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])  # long where a face is large
        flat = self.faces.reshape(-1)
        summed = np.stack([np.bincount(flat, np.repeat(w, 3), len(self.vertices)) for w in weighted.T], axis=1)
        length = np.linalg.norm(summed, axis=1, keepdims=True)
        usable = length > _MIN_LENGTH
        return np.where(usable, summed / np.where(usable, length, 1), _TO_CAMERA).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Hands:
    """Both hands of one image."""

    right: Hand
    left: Hand
    relative_translation: Floats  # (3,) m, left wrist minus right, camera axes; only where both are present
    stages_ms: Mapping[str, float]  # preprocess, inference, postprocess; find, where a finder looked first
    # Whether one crop showed both hands. Where each had its own the network cannot tell their distance: in
    # `relative_translation` x and y are then the picture's, at the hands' mean scale, and z is 0, which means unknown.
    together: bool = True

    @property
    def present(self) -> tuple[Hand, ...]:
        """The hands that are there, right before left."""
        return tuple(hand for hand in (self.right, self.left) if hand.present)

    def to_json_dict(self) -> dict[str, Any]:
        """For people and programs: millimetres and pixels; what means nothing is null."""
        both = self.right.present and self.left.present
        return {
            "hands": {hand.side: _hand_json(hand) for hand in (self.right, self.left)},
            "relative_translation_mm": _rounded(self.relative_translation * _MM, 2) if both and self.together else None,
            "together": self.together if both else None,
            "stages_ms": {stage: round(ms, 3) for stage, ms in self.stages_ms.items()},
            "joint_names": list(JOINT_NAMES),
        }


def join_hands(with_right: Hands, with_left: Hands, with_both: Hands | None = None) -> Hands:
    """Make one of hands that were seen in a crop each; `stages_ms` is the sum.

    with_both: what a crop around both says, where there is one: a hand is as present as where it is seen best.
    """
    right, left = with_right.right, with_left.left
    looks = [with_right, with_left]
    if with_both is not None:
        right = replace(right, presence=max(right.presence, with_both.right.presence))
        left = replace(left, presence=max(left.presence, with_both.left.presence))
        looks.append(with_both)
    return Hands(right, left, distance_in_picture(right, left), sum_ms(*looks), together=False)


def sum_ms(*looks: Hands) -> dict[str, float]:
    """What all looks took together, stage by stage."""
    stages = dict.fromkeys(stage for hands in looks for stage in hands.stages_ms)
    return {stage: sum(hands.stages_ms.get(stage, 0.0) for hands in looks) for stage in stages}


def distance_in_picture(right: Hand, left: Hand) -> Floats:
    """From wrist to wrist (3,) as the picture shows it, m at the hands' mean scale; its depth is unknown, 0."""
    px_per_m = max(float(right.camera[0] + left.camera[0]) / 2, _MIN_PX_PER_M)
    return np.array([*((left.camera[1:] - right.camera[1:]) / px_per_m), 0.0], np.float32)


def _hand_json(hand: Hand) -> dict[str, Any]:
    numbers = {
        "joints_mm": _rounded(hand.joints * _MM, 2),
        "joints_image_px": _rounded(hand.joints_image, 2),
        "camera": dict(zip(("scale_px_per_m", "x_px", "y_px"), _rounded(hand.camera, 3), strict=True)),
        "shape": _rounded(hand.shape, 4),
    }
    about = {"present": hand.present, "presence": round(hand.presence, 4)}
    return about | (numbers if hand.present else dict.fromkeys(numbers))


def _rounded(values: Floats, digits: int) -> Any:
    """Nested lists; rounded as double precision, or the float32 tail shows."""
    return np.round(values.astype(np.float64), digits).tolist()
