"""From meshes, views and looks to pictures: the kernels in their order, on a CPU or a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from training.data.synthhands.arrays import Bytes, Float32s, Floats
from training.data.synthhands.drawing.develop import develop
from training.data.synthhands.drawing.layout import COLUMNS
from training.data.synthhands.drawing.looks import noise_bank
from training.data.synthhands.drawing.paint import SAMPLES, Drawn, paint
from training.data.synthhands.drawing.raster import (
    FAR,
    NOTHING,
    Mesh,
    cast_shadows,
    find_normals,
    place_vertices,
    rasterise,
)
from training.data.synthhands.kernels import CPU, Device

SHADOW_PX = 256
_SHADOW_MARGIN_PX = 4
_LEVELS = (np.linspace(0, 1, 256) ** 2.2).astype(np.float32)  # of bytes, in linear light


@dataclass(frozen=True)
class Seen:
    """What is drawn of B pictures, but their looks. Drawn pixels are `linear` @ (x, y) / depth + `offset`."""

    coarse: Any  # (B, C, 3) float32, world, m; an array of the renderer's device
    shown: Bytes  # (B, OWNERS)
    spheres: Float32s  # (B, N, 4) world and radius, m: what takes light away; radius 0: none
    casts: Any  # (N,) bool: those that hold what casts the shadow
    rotation: Any  # (B, 3, 3) world -> camera
    position_m: Any  # (B, 3)
    linear: Floats  # (B, 2, 2)
    offset: Floats  # (B, 2)


class Renderer:
    """Draws a mesh on a device. Memory is kept from batch to batch: the next call overwrites what is returned."""

    def __init__(self, mesh: Mesh, device: Device = CPU) -> None:
        self.mesh, self.device = Mesh(*map(device.upload, mesh)), device
        self._noise, self._levels = device.upload(noise_bank()), device.upload(_LEVELS)
        self._kept: dict[str, Any] = {}

    def draw(
        self, seen: Seen, looks: Float32s, textures: Any, canvases: Any, size_px: tuple[int, int]
    ) -> tuple[Any, Any, Any]:
        """The pictures (B, H, W, 3) bytes, their light (B, H, W, 3), linear RGB, and the keys of what is nearest."""
        count, mesh, launch, upload = len(seen.coarse), self.mesh, self.device.launch, self.device.upload
        width, height = size_px
        vertices, faces = len(mesh.material), len(mesh.faces)
        spheres = np.array(seen.spheres, np.float32)
        spheres[..., :3] = (seen.spheres[..., :3] - seen.position_m[:, None]) @ seen.rotation.transpose(0, 2, 1)
        lights = looks[:, COLUMNS["lights"]][:, :3].astype(np.float64)
        drawn = Drawn(
            seen=self._array("seen", (count, vertices, 3), np.float32),
            pixels=self._array("pixels", (count, vertices, 3), np.float32),
            normals=self._array("normals", (count, vertices, 4), np.float32),
            nearest=self._array("nearest", (count, SAMPLES * height, SAMPLES * width), np.int64),
            depths=self._array("depths", (count, SHADOW_PX, SHADOW_PX), np.float32),
            to_light=upload(shadow_transforms(spheres[:, seen.casts], lights)),
            looks=upload(looks),
            textures=textures,
            canvases=canvases,
            levels=self._levels,
        )
        drawn.nearest[:] = NOTHING
        drawn.depths[:] = float(FAR)
        shown = upload(seen.shown)
        launch(place_vertices, count * vertices, mesh, seen.coarse, upload(_views(seen)), drawn.seen, drawn.pixels)
        launch(find_normals, count * vertices, mesh, drawn.seen, upload(spheres), drawn.normals)
        launch(cast_shadows, count * faces, mesh, shown, drawn.seen, drawn.to_light, drawn.depths)
        launch(rasterise, count * faces, mesh, shown, drawn.pixels, drawn.nearest)
        light = self._array("light", (count, height, width, 3), np.float32)
        launch(paint, count * height * width, mesh, drawn, light)
        return self.develop(light, drawn.looks), light, drawn.nearest

    def develop(self, light: Any, looks: Any) -> Any:
        """Bytes of linear light, as the looks' cameras take it."""
        picture = self._array("picture", light.shape, np.uint8)
        pixels = light.shape[0] * light.shape[1] * light.shape[2]
        self.device.launch(develop, pixels, light, looks, self._noise, picture)
        return picture

    def _array(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        if name not in self._kept or tuple(self._kept[name].shape) != tuple(shape):
            self._kept[name] = self.device.empty(tuple(shape), dtype=dtype)
        return self._kept[name]


def _views(seen: Seen) -> Float32s:
    """(B, VIEW_SIZE): cameras, and where they draw; samples are finer than pixels."""
    parts = (seen.rotation, seen.position_m, seen.linear * SAMPLES, seen.offset * SAMPLES)
    return np.concatenate([np.reshape(part, (len(seen.shown), -1)) for part in parts], axis=1, dtype=np.float32)


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
