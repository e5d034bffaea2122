"""The graph's outputs -> hands in metres and image pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from runtime.backends.contract import Heatmap
from runtime.backends.opening import Outputs
from runtime.errors import UserError
from runtime.hand.hand_model import HandModel, mirror, skin_at_wrist
from runtime.hand.hands import Floats, Hand
from runtime.hand.rotations import matrix_from_6d
from runtime.image.crop import Crop

_MIRROR = np.array([-1, 1, 1], np.float32)
_BOTH = np.stack([np.ones(3, np.float32), _MIRROR])  # right, left
_MIRROR_TURNS = (_BOTH[:, :, None] * _BOTH[:, None, :])[:, None]  # (2, 1, 3, 3)
_MIRROR_AXES = _BOTH[:, None, :, None]  # (2, 1, 3, 1)
_SAME_AXES = np.ones((1, 3, 1), np.float32)
_LARGEST_LOGIT = 500.0  # beyond it exp overflows, and the probability is 0 or 1 anyway
_LARGEST_OUTPUT = 1e6  # of any unit in the contract, logits aside: far beyond what a hand can be


@dataclass(frozen=True, eq=False)
class HandPair:
    """The hand models of both sides."""

    right: HandModel
    left: HandModel

    @cached_property
    def mirrored(self) -> bool:
        """Whether the left hand is the right one's mirror image, so that one call can skin both."""
        image = mirror(self.right)
        keys = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "parents", "tips")
        return all(np.array_equal(getattr(self.left, key), getattr(image, key)) for key in keys)

    def skin(self, rotations: Floats, shape: Floats) -> tuple[Floats, Floats]:
        """(2, 16, 3, 3), (2, 10) -> vertices (2, 778, 3) and joints (2, 21, 3), m, wrist-relative."""
        if self.mirrored:
            return skin_at_wrist(self.right, rotations * _MIRROR_TURNS, shape, _MIRROR_AXES)
        hands = (self.right, self.left)
        parts = [skin_at_wrist(model, rotations[i], shape[i], _SAME_AXES) for i, model in enumerate(hands)]
        vertices, joints = (np.stack(arrays) for arrays in zip(*parts, strict=True))
        return vertices, joints


def decode(outputs: Outputs, crop: Crop, heatmap: Heatmap, models: HandPair) -> tuple[Hand, Hand]:
    """Outputs of the graph contract for one crop -> (right, left)."""
    _check_numbers(outputs)
    rotations = cast(Floats, matrix_from_6d(outputs["rotation6d"][0]))
    shape = outputs["shape"][0]
    vertices, joints = models.skin(rotations, shape)
    camera = image_camera(outputs["camera"][0], crop)
    projected = camera[:, None, :1] * joints[..., :2] + camera[:, None, 1:]
    from_maps = heatmap_joints(outputs["joints_image"][0], crop, heatmap)
    logits = outputs["presence"][0].tolist()
    right, left = (
        Hand(
            side=model.side,
            present=logits[i] > 0,
            presence=_probability(logits[i]),
            vertices=vertices[i],
            joints=joints[i],
            joints_image=projected[i],
            joints_heatmap=from_maps[i],
            rotations=rotations[i],
            shape=shape[i],
            camera=camera[i],
            faces=model.faces,
        )
        for i, model in enumerate((models.right, models.left))
    )
    return right, left


def image_camera(camera: NDArray[np.floating[Any]], crop: Crop) -> Floats:
    """(2, 3) of the contract, in parts of the crop -> (2, 3) px of the image per m, and px of the image."""
    left, top = crop.corner_px
    return _scaled(camera, crop.size_px, (0.0, left, top))


def heatmap_joints(cells: NDArray[np.floating[Any]], crop: Crop, heatmap: Heatmap) -> Floats:
    """(2, 21, 3) in map cells and depth bins -> x, y px of the image, z m from the wrist."""
    left, top = crop.corner_px
    width, height = crop.size_px / heatmap.width, crop.size_px / heatmap.height
    depth_m = heatmap.depth_range_m / heatmap.depth
    start = (left + width / 2, top + height / 2, depth_m / 2 - heatmap.depth_range_m / 2)
    return _scaled(cells, (width, height, depth_m), start)


def _scaled(
    values: NDArray[np.floating[Any]], factor: float | tuple[float, float, float], start: tuple[float, float, float]
) -> Floats:
    """In double precision: single is too coarse for pixels of large images."""
    return np.asarray(values.astype(np.float64) * np.array(factor) + np.array(start), np.float32)


def _check_numbers(outputs: Outputs) -> None:
    """A UserError where numbers are not finite, or so large that what is made of them would not be."""
    numbers = np.concatenate([values.reshape(-1) for name, values in outputs.items() if name != "presence"])
    if np.abs(numbers).max() <= _LARGEST_OUTPUT and np.isfinite(outputs["presence"]).all():  # False for nan
        return
    broken = [name for name, values in outputs.items() if not np.isfinite(values).all()]
    what = "are not finite" if broken else "no hand can have"
    broken = broken or [name for name, values in outputs.items() if np.abs(values).max() > _LARGEST_OUTPUT]
    # The file is damaged, or it overflows in half precision.
    raise UserError(f"the model gives numbers that {what} ({', '.join(broken)}): export it again as fp32")


def _probability(logit: float) -> float:
    return 1 / (1 + math.exp(-min(max(logit, -_LARGEST_LOGIT), _LARGEST_LOGIT)))
