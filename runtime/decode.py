"""The graph's outputs -> hands in metres and image pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from runtime.backends import Outputs
from runtime.contract import Heatmap
from runtime.crop import Crop
from runtime.errors import UserError
from runtime.hand_model import HandModel, mirror, skin
from runtime.hands import Floats, Hand
from runtime.joints import WRIST
from runtime.rotations import matrix_from_6d

_FLIP = np.array([-1, 1, 1], np.float32)
_LARGEST_LOGIT = 50.0  # beyond it exp overflows single precision, and the probability is 0 or 1 anyway


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
            turns = rotations.copy()
            turns[1] *= np.outer(_FLIP, _FLIP)
            vertices, joints = skin(self.right, turns, shape)
            vertices[1] *= _FLIP
            joints[1] *= _FLIP
        else:
            parts = [skin(model, rotations[i], shape[i]) for i, model in enumerate((self.right, self.left))]
            vertices, joints = (np.stack(arrays) for arrays in zip(*parts, strict=True))
        wrist = joints[:, WRIST : WRIST + 1].copy()
        return vertices - wrist, joints - wrist


def decode(outputs: Outputs, crop: Crop, heatmap: Heatmap, models: HandPair) -> tuple[Hand, Hand]:
    """Outputs of the graph contract for one crop -> (right, left)."""
    broken = [name for name, values in outputs.items() if not np.isfinite(values).all()]
    if broken:  # a damaged model, or one that overflows in half precision
        raise UserError(f"the model gives numbers that are not finite ({', '.join(broken)}): export it again as fp32")
    rotations = cast(Floats, matrix_from_6d(outputs["rotation6d"][0]))
    shape = outputs["shape"][0]
    vertices, joints = models.skin(rotations, shape)
    camera = image_camera(outputs["camera"][0], crop)
    projected = camera[:, None, :1] * joints[..., :2] + camera[:, None, 1:]
    from_maps = heatmap_joints(outputs["joints_image"][0], crop, heatmap)
    logits = outputs["presence"][0]
    probability = 1 / (1 + np.exp(-np.clip(logits, -_LARGEST_LOGIT, _LARGEST_LOGIT)))
    right, left = (
        Hand(
            side=model.side,
            present=bool(logits[i] > 0),
            presence=float(probability[i]),
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
    scale = camera[:, :1] * crop.size_px
    wrist = crop.to_image(camera[:, 1:] * crop.output_px)
    return np.asarray(np.concatenate([scale, wrist], axis=1), np.float32)


def heatmap_joints(cells: NDArray[np.floating[Any]], crop: Crop, heatmap: Heatmap) -> Floats:
    """(2, 21, 3) in map cells and depth bins -> x, y px of the image, z m from the wrist."""
    fractions = (cells + 0.5) / np.array([heatmap.width, heatmap.height, heatmap.depth])
    xy = crop.to_image(fractions[..., :2] * crop.output_px)
    z = (fractions[..., 2:] - 0.5) * heatmap.depth_range_m
    return np.asarray(np.concatenate([xy, z], axis=-1), np.float32)
