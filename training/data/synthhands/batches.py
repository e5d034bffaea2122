"""Batches drawn where the network trains, from scenes that worker processes make beside it.

A pool holds the newest scenes, each with several views, and backgrounds and skins; a batch takes any of them, with
looks and augmentation of its own. What is in the pool depends on how fast the workers are: no run repeats exactly.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import queue
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import UserError
from runtime.image.crop import BOX_SCALE
from training.data.augment import AugmentSpec
from training.data.synthhands import frame as frames
from training.data.synthhands.arrays import Floats
from training.data.synthhands.drawing.layout import put
from training.data.synthhands.drawing.looks import TRAITS, sample_looks
from training.data.synthhands.drawing.meshes import coarse_vertices
from training.data.synthhands.drawing.renderer import Renderer, Seen
from training.data.synthhands.generate import start_worker
from training.data.synthhands.kernels import Device
from training.data.synthhands.scene.scene import rotations_of
from training.data.synthhands.schedule import CAPTURE_FRAMES, SPLIT_CAPTURES, SUBJECT_FRAMES
from training.data.synthhands.table import Table

VIEWS = 8  # of a scene
CHUNK = 8  # scenes handed over at once
POOL = {"scenes": 20_000, "canvases": 2_000, "textures": 200}
ENOUGH = {"scenes": 256, "canvases": 32, "textures": 2}  # to begin with
TAKEN = 24  # chunks at most, before a batch
WAIT_S = 120

_OF_VIEW = ("rotation", "position_m", "focal_px", "principal_px", "size_px", "box")
_ON_DEVICE = ("coarse", "canvases", "textures")  # what kernels read

Arrays = dict[str, Any]
Chunk = dict[str, Arrays]  # by what POOL holds


def make_chunk(studio: frames.Studio, capture: int, first_frame: int) -> Chunk:
    """CHUNK scenes as arrays, and what goes with some of them: a background each, and a new person's skin."""
    made = [frames.make_frame(studio, capture, first_frame + k, VIEWS) for k in range(CHUNK)]
    rows = [_scene_row(frame, studio) for frame in made]
    canvases, strange = zip(*(frames.canvas_of(studio, frame) for frame in made[:2]), strict=True)
    chunk = {
        "scenes": {name: np.stack([row[name] for row in rows]) for name in rows[0]},
        "canvases": {"canvases": np.concatenate(canvases), "strange": np.array(strange)},
    }
    if first_frame % (2 * SUBJECT_FRAMES) < CHUNK:
        chunk["textures"] = {"textures": frames.texture_of(studio, made[0].subject)}
    return chunk


def _scene_row(frame: frames.Frame, studio: frames.Studio) -> Arrays:
    scene = frame.scene
    coarse, shown = coarse_vertices(scene, studio.models)
    row: Arrays = {"coarse": coarse, "shown": shown, "spheres": frames.spheres_of(scene), "sleeves": scene.sleeves_m}
    row |= {"joints": np.zeros((2, 21, 3)), "pose": np.zeros((2, 16, 3, 3)), "shape": np.zeros((2, 10))}
    for hand in scene.hands:
        row["joints"][hand.side], row["shape"][hand.side] = hand.joints, hand.shape
        row["pose"][hand.side] = rotations_of(studio.models[hand.side], hand.pose)
    row |= {name: np.stack([getattr(view, name) for view in frame.views]) for name in _OF_VIEW}
    return {name: np.asarray(value, np.uint8 if name == "shown" else np.float32) for name, value in row.items()}


def _work(out: Any, table: Table, photographs: tuple[Path, ...], first: int, step: int) -> None:
    start_worker()
    os.nice(5)  # the training process comes first
    studio = frames.build_studio(table, photographs)
    for number in itertools.count(first, step):
        for first_frame in range(0, CAPTURE_FRAMES, CHUNK):
            out.put(make_chunk(studio, number % len(SPLIT_CAPTURES["train"]), first_frame))


class Pool:
    """Rings of the newest arrays: what kernels read on the device, the rest in memory."""

    def __init__(self, device: Device, sizes: dict[str, int]) -> None:
        self._device, self._sizes = device, sizes
        self._rings: Arrays = {}
        self.made = dict.fromkeys(sizes, 0)

    def add(self, chunk: Chunk) -> None:
        """Put a chunk in, over the oldest."""
        for kind, arrays in chunk.items():
            count = len(next(iter(arrays.values())))
            rows = (self.made[kind] + np.arange(count)) % self._sizes[kind]
            for name, array in arrays.items():
                bring = self._device.upload if name in _ON_DEVICE else np.asarray
                if name not in self._rings:
                    self._rings[name] = bring(np.zeros((self._sizes[kind], *array.shape[1:]), array.dtype))
                self._rings[name][rows] = bring(array)
            self.made[kind] += count

    def filled(self, kind: str) -> int:
        """How many rows there are."""
        return min(self.made[kind], self._sizes[kind])

    def __getitem__(self, name: str) -> Any:
        return self._rings[name]


def draw_batch(
    table: Table, pool: Pool, renderer: Renderer, count: int, crop_px: int, spec: AugmentSpec, rng: np.random.Generator
) -> tuple[Any, Arrays]:
    """Pictures (B, S, S, 3) bytes on the device, not yet enlarged or mirrored; and labels and what is left to do.

    Labels have the keys of training.data.samples.Sample; beside them "flip", "share" of the square that is drawn, and
    "quality" of JPEG.
    """
    rows, views = rng.integers(pool.filled("scenes"), size=count), rng.integers(VIEWS, size=count)
    scene = {name: pool[name][rows, views] for name in _OF_VIEW}
    scene |= {name: pool[name][rows] for name in ("shown", "spheres", "sleeves", "joints", "pose", "shape")}
    share = np.where(rng.random(count) < table.coarse, rng.uniform(*table.resolution, count), 1.0)
    drawn_px = np.maximum(np.round(share * crop_px), 8)

    limit = np.deg2rad(spec.rotation_deg)
    angle = np.clip(rng.normal(0, limit / 2, count), -limit, limit)
    scale = np.exp(rng.uniform(-spec.scale, spec.scale, count))
    turn = np.zeros((count, 3, 3))
    turn[:, 0, 0] = turn[:, 1, 1] = np.cos(angle)
    turn[:, 1, 0], turn[:, 2, 2] = np.sin(angle), 1
    turn[:, 0, 1] = -turn[:, 1, 0]
    side = scene["box"][:, 2:].max(axis=1) * BOX_SCALE
    center = scene["box"][:, :2] + scene["box"][:, 2:] / 2
    to_crop = turn[:, :2, :2] * (scale / side)[:, None, None]  # picture px -> 0..1 of the crop
    at = 0.5 + rng.uniform(-spec.shift, spec.shift, (count, 2)) - (to_crop @ center[..., None])[..., 0]

    traits = {name: rng.random(count) for name in TRAITS}
    side_px = -(-crop_px // 8) * 8  # JPEG works in blocks
    sizes = np.repeat(np.minimum(drawn_px + 1, side_px)[:, None], 2, axis=1)  # one more, for enlarging
    looks = sample_looks(table, sizes, scene["sleeves"], traits, rng)

    back = np.linalg.inv(to_crop) / drawn_px[:, None, None]
    start = -(np.linalg.inv(to_crop) @ at[..., None])
    edge = np.concatenate([back, start], axis=2).reshape(count, 6)
    put(looks, "edge", np.concatenate([edge, scene["size_px"]], axis=1))
    gain = rng.uniform(1 - spec.gain, 1 + spec.gain, (count, 1)) * rng.uniform(0.93, 1.07, (count, 3))
    put(looks, "shown_gain", gain)
    put(looks, "shown_offset", rng.uniform(-spec.brightness, spec.brightness, count))
    canvas = rng.integers(pool.filled("canvases"), size=count)
    empty = ~scene["shown"][:, :2].any(axis=1)
    plain = np.flatnonzero(~pool["strange"][: pool.filled("canvases")])
    put(looks, "canvas", np.where(empty, plain[canvas % len(plain)], canvas) if len(plain) else canvas)
    put(looks, "texture", rng.integers(pool.filled("textures"), size=count))

    linear = to_crop * drawn_px[:, None, None] * scene["focal_px"][:, None]
    offset = ((to_crop @ scene["principal_px"][..., None])[..., 0] + at) * drawn_px[:, None]
    camera = scene["rotation"], scene["position_m"]
    coarse = pool["coarse"][renderer.device.upload(rows)]
    seen = Seen(coarse, scene["shown"], scene["spheres"], frames.CASTS, *camera, linear, offset)
    picture = renderer.draw(seen, looks, pool["textures"], pool["canvases"], (side_px, side_px))[0]
    labels = _labels(scene, turn, to_crop, at, rng.random(count) < spec.flip)
    return picture, labels | {"share": drawn_px / side_px, "quality": rng.integers(*table.jpeg, count)}


def _labels(scene: Arrays, turn: Floats, to_crop: Floats, at: Floats, flip: Any) -> Arrays:
    """What training.data.samples.load_sample says of one picture, of many."""
    present = scene["shown"][:, :2].astype(bool)
    joints = (scene["joints"] - scene["position_m"][:, None, None]) @ scene["rotation"].transpose(0, 2, 1)[:, None]
    depth = np.where(present[..., None], joints[..., 2], 1)[..., None]
    pixels = joints[..., :2] / depth * scene["focal_px"][:, None, None] + scene["principal_px"][:, None, None]
    inside = ((pixels >= 0) & (pixels < scene["size_px"][:, None, None])).all(axis=-1) & present[..., None]
    points = pixels @ to_crop.transpose(0, 2, 1)[:, None] + at[:, None, None]
    joints = joints @ turn.transpose(0, 2, 1)[:, None]
    pose = scene["pose"].copy()
    pose[:, :, 0] = (turn @ scene["rotation"])[:, None] @ pose[:, :, 0]

    def sided(values: Any) -> Any:  # the left hand of a mirrored picture is its right one
        return np.where(flip.reshape(-1, *[1] * (values.ndim - 1)), values[:, ::-1], values)

    sign = np.where(flip[:, None], [-1, 1, 1], 1)
    joints, points = sided(joints) * sign[:, None, None], sided(points)
    points[..., 0] = np.where(flip[:, None, None], 1 - points[..., 0], points[..., 0])
    there, inside = sided(present), sided(inside)
    both = there.all(axis=1)
    relative = (joints - joints[:, :, :1]) * there[..., None, None]
    return {
        "presence": there,
        "has_presence": np.ones_like(there),
        "joints": relative,
        "joint_valid": inside,
        "joint_valid_3d": np.repeat(there[..., None], 21, axis=2),
        "points": points * inside[..., None],
        "has_mano": there,
        "mano_joints": relative,
        "rotations": sided(pose) * sign[:, None, None, :, None] * sign[:, None, None, None],
        "shape": sided(scene["shape"]) * there[..., None],
        "relative_translation": (joints[:, 1, 0] - joints[:, 0, 0]) * both[:, None],
        "has_translation": both,
        "flip": flip,
    }


class DrawnBatches:
    """Endless batches on a GPU, or, slowly, on a CPU. Its workers end with the process, or at `close`."""

    def __init__(
        self, table: Table, photographs: tuple[Path, ...], workers: int, seed: int, share: int, shares: int, device: Any
    ) -> None:
        self._table, self._device, self._rng = table, device, np.random.default_rng([seed, share])
        renderer, pool = frames.build_studio(table).renderer, ENOUGH
        if device.type == "cuda":
            from training.data.synthhands.gpu import gpu  # numba.cuda is an extra

            renderer, pool = Renderer(renderer.mesh, gpu(device)), POOL
        self._renderer, self._pool = renderer, Pool(renderer.device, pool)
        context = multiprocessing.get_context("spawn")
        self._queue = context.Queue(maxsize=4 * workers)
        first, common = seed * 9973 + share * workers, (self._queue, table, photographs)
        every = ((*common, first + number, workers * shares) for number in range(workers))
        self._workers = [context.Process(target=_work, args=arguments, daemon=True) for arguments in every]
        for worker in self._workers:
            worker.start()
        # A chunk is larger than a pipe holds: whoever asks only now and then finds it empty.
        self._here: queue.Queue[Chunk] = queue.Queue(maxsize=2 * TAKEN)
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        try:
            while True:
                self._here.put(self._queue.get())
        except (OSError, EOFError, ValueError):  # closed
            return

    def _fill(self) -> None:
        """Take some of what the workers have made; wait for the first scenes."""
        taken = 0
        while (lacking := any(self._pool.made[kind] < least for kind, least in ENOUGH.items())) or taken < TAKEN:
            try:
                self._pool.add(self._here.get(block=lacking, timeout=WAIT_S))
                taken += 1
            except queue.Empty:
                if lacking:
                    problem = "no scenes come from the worker processes (out of memory?): give fewer --workers"
                    raise UserError(problem) from None
                return

    def take(self, count: int, crop_px: int, steps: int, spec: AugmentSpec) -> Iterator[dict[str, Any]]:
        """`steps` batches of `count` samples, with the keys of training.data.samples.Sample."""
        import torch  # scenes are made without it

        for _ in range(steps):
            self._fill()
            picture, labels = draw_batch(self._table, self._pool, self._renderer, count, crop_px, spec, self._rng)
            as_tensor = partial(torch.as_tensor, device=self._device)
            how = (as_tensor(labels.pop(name)) for name in ("flip", "share", "quality"))
            image = finish(as_tensor(picture), crop_px, *how)
            yield {"image": image, **{key: as_tensor(np.float32(value)) for key, value in labels.items()}}

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.terminate()


def finish(picture: Any, crop_px: int, flip: Any, share: Any, quality: Any) -> Any:
    """Bytes (B, S, S, 3), drawn in a `share` (B,) of it -> (B, 3, crop, crop) 0..1: JPEG, enlarged, mirrored."""
    import torch

    image = jpeg_like(picture.permute(0, 3, 1, 2).float(), quality)
    theta = torch.zeros(len(image), 2, 3, device=image.device)
    theta[:, 0, 0] = theta[:, 1, 1] = share.float()
    theta[:, :, 2] = share.float()[:, None] - 1
    grid = torch.nn.functional.affine_grid(theta, list(image.shape), align_corners=False)
    image = torch.nn.functional.grid_sample(image, grid, padding_mode="border", align_corners=False)
    image = image[..., :crop_px, :crop_px]
    return torch.where(flip.bool()[:, None, None, None], image.flip(-1), image).clamp(0, 255) / 255


# JPEG's own tables of quantisation (ITU-T T.81, annex K), along the diagonals.
_LUMA_STEPS, _CHROMA_STEPS = (16, 11, 12, 14, 17, 22, 30, 40, 52, 62, 75, 85, 92, 98, 99), (17, 20, 30, 48, *[99] * 11)
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def jpeg_like(image: Any, quality: Any) -> Any:
    """(B, 3, H, W) RGB 0..255, H and W divisible by 8 -> what JPEG of a quality (B,) would leave of it."""
    import torch

    k = torch.arange(8, device=image.device)
    basis = torch.cos((2 * k + 1) * k[:, None] * torch.pi / 16) / torch.where(k == 0, 8**0.5, 2.0)[:, None]
    tables = torch.tensor([_LUMA_STEPS, _CHROMA_STEPS, _CHROMA_STEPS], device=image.device)[:, k[:, None] + k]
    factor = torch.where(quality < 50, 50 / quality, 2 - quality / 50)[:, None, None, None]
    steps = (tables * factor).round().clamp(1, 255)[:, :, None, None]
    to_ycc = torch.tensor(_TO_YCC, device=image.device)
    count, _, height, width = image.shape
    ycc = torch.einsum("dc,bchw->bdhw", to_ycc, image - 128)
    blocks = ycc.reshape(count, 3, height // 8, 8, width // 8, 8).transpose(3, 4)
    rounded = (basis @ blocks @ basis.T / steps).round() * steps
    ycc = (basis.T @ rounded @ basis).transpose(3, 4).reshape(image.shape)
    return torch.einsum("dc,bchw->bdhw", torch.linalg.inv(to_ycc), ycc) + 128
