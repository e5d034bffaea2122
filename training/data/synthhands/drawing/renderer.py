"""From meshes, views and looks to pictures: the kernels in their order, on a CPU or a GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.data.synthhands.arrays import Float32s, Floats
from training.data.synthhands.drawing.develop import develop
from training.data.synthhands.drawing.paint import SAMPLES, Drawn, Palette, paint
from training.data.synthhands.drawing.raster import (
    FAR,
    NOTHING,
    Mesh,
    cast_shadows,
    find_normals,
    place_vertices,
    rasterise,
)
from training.data.synthhands.kernels import Launch, launch_on_cpu

SHADOW_PX = 256
_SHADOW_MARGIN_PX = 4
LEVELS = (np.linspace(0, 1, 256) ** 2.2).astype(np.float32)  # of bytes, in linear light


@dataclass(frozen=True)
class Seen:
    """What is drawn of B pictures, but their looks. Arrays of the renderer's device."""

    coarse: Any  # (B, C, 3) float32, world, m
    shown: Any  # (B, OWNERS) uint8
    spheres: Any  # (B, N, 4) float32, camera axes and radius, m: what takes light away; radius 0: none
    views: Any  # (B, VIEW_SIZE) float32
    to_light: Any  # (B, 3, 4) float32


class Renderer:
    """Draws a mesh with kernels that are launched by `launch`, on arrays that `empty` makes of a shape and a dtype.

    Memory is kept from batch to batch: what is returned is overwritten by the next call.
    """

    def __init__(
        self, mesh: Mesh, noise: Any, launch: Launch = launch_on_cpu, empty: Callable[..., Any] = np.empty
    ) -> None:
        self._mesh, self._noise, self._launch, self._empty = mesh, noise, launch, empty
        self._kept: dict[str, Any] = {}

    def draw(self, seen: Seen, palette: Palette, size_px: tuple[int, int]) -> tuple[Any, Any, Any]:
        """The pictures (B, H, W, 3) bytes, their light (B, H, W, 3), linear RGB, and the parts seen (B, H, W)."""
        count, mesh, launch = len(seen.coarse), self._mesh, self._launch
        width, height = size_px
        vertices, faces = len(mesh.material), len(mesh.faces)
        drawn = Drawn(
            seen=self._array("seen", (count, vertices, 3), np.float32),
            pixels=self._array("pixels", (count, vertices, 3), np.float32),
            normals=self._array("normals", (count, vertices, 4), np.float32),
            nearest=self._array("nearest", (count, SAMPLES * height, SAMPLES * width), np.int64),
            depths=self._array("depths", (count, SHADOW_PX, SHADOW_PX), np.float32),
            to_light=seen.to_light,
        )
        drawn.nearest[:] = NOTHING
        drawn.depths[:] = float(FAR)
        launch(place_vertices, count * vertices, mesh, seen.coarse, seen.views, drawn.seen, drawn.pixels)
        launch(find_normals, count * vertices, mesh, drawn.seen, seen.spheres, drawn.normals)
        launch(cast_shadows, count * faces, mesh, seen.shown, drawn.seen, drawn.to_light, drawn.depths)
        launch(rasterise, count * faces, mesh, seen.shown, drawn.pixels, drawn.nearest)
        light = self._array("light", (count, height, width, 3), np.float32)
        labels = self._array("labels", (count, height, width), np.uint8)
        launch(paint, count * height * width, mesh, drawn, palette, light, labels)
        return self.develop(light, palette.looks), light, labels

    def develop(self, light: Any, looks: Any) -> Any:
        """Bytes of linear light, as the looks' cameras take it."""
        picture = self._array("picture", light.shape, np.uint8)
        self._launch(develop, light.shape[0] * light.shape[1] * light.shape[2], light, looks, self._noise, picture)
        return picture

    def _array(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        if name not in self._kept or tuple(self._kept[name].shape) != tuple(shape):
            self._kept[name] = self._empty(tuple(shape), dtype=dtype)
        return self._kept[name]


def view_rows(rotation: Floats, position: Floats, linear: Floats, offset: Floats) -> Float32s:
    """(B, VIEW_SIZE) of cameras: rotation (B, 3, 3) and position (B, 3); and of where they draw.

    Drawn pixels are `linear` (B, 2, 2) @ (x, y) / depth + `offset` (B, 2); samples are finer.
    """
    count = len(rotation)
    parts = [rotation, position, linear * SAMPLES, offset * SAMPLES]
    return np.concatenate([np.reshape(part, (count, -1)) for part in parts], axis=1, dtype=np.float32)


def shadow_transforms(spheres: Float32s, lights: Floats) -> Float32s:
    """(B, 3, 4) camera axes -> shadow map, of spheres (B, N, 4) that hold what casts and unit vectors (B, 3)."""
    away = -lights
    across = np.cross(away, np.array([0.0, 1.0, 0.1]))
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    axes = np.stack([across, np.cross(away, across), away], axis=1)
    placed, reach = spheres[..., :3] @ axes.transpose(0, 2, 1), 1.6 * spheres[..., 3:]
    there = spheres[..., 3:] > 0
    low = np.where(there, placed - reach, 1e3).min(axis=1)
    high = np.where(there, placed + reach, -1e3).max(axis=1)
    scale = (SHADOW_PX - 2 * _SHADOW_MARGIN_PX) / np.maximum((high - low)[:, :2].max(axis=1), 1e-3)
    transform = np.zeros((len(away), 3, 4), np.float32)
    transform[:, :2, :3] = axes[:, :2] * scale[:, None, None]
    transform[:, :2, 3] = _SHADOW_MARGIN_PX - low[:, :2] * scale[:, None]
    transform[:, 2, :3] = axes[:, 2]
    return transform
