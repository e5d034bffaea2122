"""The graph's outputs -> hands in metres and image pixels."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..backends.contract import Heatmap, Outputs
from ..errors import UserError
from ..image.crop import Crop
from .hand_model import HandPair
from .hands import Floats, Hand
from .rotations import matrix_from_6d

_LARGEST_LOGIT = 500.0  # beyond it exp overflows, and the probability is 0 or 1 anyway
_FAR_APART = 0.5  # of a hand's size, between its joints and the heat maps': one of them does not see it
_LARGEST_OUTPUT = 1e6  # of any unit in the contract, logits aside: far beyond what a hand can be


def decode(outputs: Outputs, crop: Crop, heatmap: Heatmap, models: HandPair) -> tuple[Hand, Hand]:
    """Turn outputs of the graph contract for one crop into (right, left); a UserError where they are no numbers."""
    _check_numbers(outputs)
    rotations = cast(Floats, matrix_from_6d(outputs["rotation6d"][0]))
    shape = outputs["shape"][0]
    joints = models.joints(rotations, shape)
    mesh = models.mesh(rotations, shape)
    from_maps = heatmap_joints(outputs["joints_image"][0], crop, heatmap)
    camera = agreed_camera(image_camera(outputs["camera"][0], crop), joints, from_maps)
    projected = camera[:, None, :1] * joints[..., :2] + camera[:, None, 1:]
    logits = outputs["presence"][0].tolist()
    right, left = (
        Hand(
            side=model.side,
            present=logits[i] > 0,
            presence=_probability(logits[i]),
            mesh=partial(mesh, i),
            joints=joints[i],
            joints_image=projected[i],
            joints_heatmap=from_maps[i],
            rotations=rotations[i],
            shape=shape[i],
            camera=camera[i],
            faces=model.faces,
        )
        for i, model in enumerate(models)
    )
    return right, left


def image_camera(camera: NDArray[np.floating[Any]], crop: Crop) -> Floats:
    """(2, 3) of the contract, in parts of the crop -> (2, 3) px of the image per m, and px of the image."""
    return _scaled(camera, crop.size_px, (0.0, *_corner(crop)))


def agreed_camera(camera: Floats, joints: Floats, from_maps: Floats) -> Floats:
    """Move each hand's camera (2, 3) halfway to where the heat maps see its joints (2, 21, 3), in place and size.

    Two branches of the network err each in its own way: what they agree on is nearer (docs/weights.md has figures).
    """
    flat = joints[..., :2]
    seen = camera[:, None, :1] * flat + camera[:, None, 1:]
    halfway = (seen + from_maps[..., :2]) / 2
    middle, aim = flat.mean(axis=1, keepdims=True), halfway.mean(axis=1, keepdims=True)
    spread = ((flat - middle) ** 2).sum(axis=(1, 2))
    scale = ((flat - middle) * (halfway - aim)).sum(axis=(1, 2)) / np.maximum(spread, np.finfo(np.float32).tiny)
    moved = np.concatenate([scale[:, None], aim[:, 0] - scale[:, None] * middle[:, 0]], axis=1)
    apart = np.linalg.norm(seen - from_maps[..., :2], axis=2).mean(axis=1)
    trusted = (scale > 0) & (apart < _FAR_APART * np.ptp(seen, axis=1).max(axis=1))
    return np.asarray(np.where(trusted[:, None], moved, camera), np.float32)


def heatmap_joints(cells: NDArray[np.floating[Any]], crop: Crop, heatmap: Heatmap) -> Floats:
    """(2, 21, 3) in map cells and depth bins -> x, y px of the image, z m from the wrist."""
    left, top = _corner(crop)
    width, height = crop.size_px / heatmap.width, crop.size_px / heatmap.height
    depth_m = heatmap.depth_range_m / heatmap.depth
    start = (left + width / 2, top + height / 2, depth_m / 2 - heatmap.depth_range_m / 2)
    return _scaled(cells, (width, height, depth_m), start)


def _corner(crop: Crop) -> tuple[float, float]:
    x, y = crop.center_px.tolist()
    return x - crop.size_px / 2, y - crop.size_px / 2


def _scaled(values: NDArray[np.floating[Any]], factor: float | tuple[float, ...], start: tuple[float, ...]) -> Floats:
    """In double precision: single is too coarse for pixels of large images."""
    return np.asarray(values.astype(np.float64) * np.array(factor) + np.array(start), np.float32)


def _check_numbers(outputs: Outputs) -> None:
    """A UserError where numbers are not finite, or so large that what is made of them would not be."""
    numbers = np.concatenate([values.reshape(-1) for name, values in outputs.items() if name != "presence"])
    if np.abs(numbers).max() <= _LARGEST_OUTPUT and np.isfinite(outputs["presence"]).all():  # False for nan
        return
    # The file is damaged, or it overflows in half precision.
    broken = [name for name, values in outputs.items() if not np.abs(values).max() <= _LARGEST_OUTPUT]
    raise UserError(f"the model gives numbers that no hand can have ({', '.join(broken)}): export it again as fp32")


def _probability(logit: float) -> float:
    return 1 / (1 + math.exp(-min(max(logit, -_LARGEST_LOGIT), _LARGEST_LOGIT)))
