"""Batches as a GPU draws them, drawn here by the CPU."""

from __future__ import annotations

from copy import copy
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from training.data.augment import AugmentSpec
from training.data.samples import Sample
from training.data.synthhands import batches
from training.data.synthhands.batches import CHUNK, Pool, draw_batch, finish, jpeg_like, make_chunk
from training.data.synthhands.frame import Studio
from training.data.synthhands.kernels import CPU
from training.data.synthhands.table import V2

COUNT, CROP_PX = 48, 100


@pytest.fixture(scope="module")
def pool(studio: Studio) -> Pool:
    pool = Pool(CPU, {"scenes": 2 * CHUNK, "canvases": 3, "textures": 2})
    for first_frame in (0, 8, 16):  # the first one is written over
        pool.add(make_chunk(studio, 3, first_frame))
    return pool


def draw(studio: Studio, pool: Pool) -> tuple[Any, dict[str, Any]]:
    picture, labels = draw_batch(V2, pool, studio.renderer, COUNT, CROP_PX, AugmentSpec(), np.random.default_rng(0))
    how = (torch.from_numpy(np.asarray(labels.pop(name))) for name in ("flip", "share", "quality"))
    return finish(torch.from_numpy(picture), CROP_PX, *how).numpy(), labels


@pytest.fixture(scope="module")
def drawn(studio: Studio, pool: Pool) -> tuple[Any, dict[str, Any]]:
    return draw(studio, pool)


def test_a_pool_keeps_the_newest(pool: Pool) -> None:
    assert pool.made["scenes"] == 3 * CHUNK and pool.filled("scenes") == 2 * CHUNK and pool.filled("canvases") == 3
    assert pool["coarse"].shape[0] == 2 * CHUNK and pool["canvases"].dtype == np.uint8


def test_batches_have_the_keys_and_shapes_of_samples(drawn: tuple[Any, dict[str, Any]]) -> None:
    image, labels = drawn
    assert image.shape == (COUNT, 3, CROP_PX, CROP_PX) and image.min() >= 0 and image.max() <= 1
    assert labels.keys() == set(Sample.__dataclass_fields__) - {"image"}
    assert 0.3 < image.std(axis=0).mean() * 2 < 0.9


def test_labels_fit_together(drawn: tuple[Any, dict[str, Any]]) -> None:
    """A hand's rotations give its joints, mirrored or not; what is not there is 0."""
    _, labels = drawn
    there = labels["presence"]
    assert not labels["joints"][~there].any() and not labels["joint_valid"][~there].any()
    np.testing.assert_array_equal(labels["has_translation"], there.all(axis=1))
    assert {0, 1, 2} == set(there.sum(axis=1).tolist())
    rotations = labels["rotations"][there]
    np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-4)
    knuckle = labels["joints"][there][:, 9] @ np.eye(3)
    # At rest the right hand's fingers point along -x, the left one's along +x.
    along = np.where(np.nonzero(there)[1] == 0, -1.0, 1.0)[:, None] * rotations[:, 0, :, 0]
    cosine = (knuckle * along).sum(axis=1) / np.linalg.norm(knuckle, axis=1)
    assert cosine.min() > 0.8


def test_points_lie_on_the_hands(studio: Studio, pool: Pool, drawn: tuple[Any, dict[str, Any]]) -> None:
    """Where a joint is said to be in view, the picture without hands differs from the one with them."""
    image, labels = drawn
    without = copy(pool)  # every chance is the same, but what is seen lies nowhere
    without._rings = {**pool._rings, "coarse": np.full_like(pool["coarse"], np.nan)}
    empty, _ = draw(studio, without)
    changed = np.abs(image - empty).max(axis=1)
    batch, side, joint = np.nonzero(labels["joint_valid"])
    at = np.column_stack([batch, labels["points"][batch, side, joint] * CROP_PX])
    at = at[((at[:, 1:] >= 0) & (at[:, 1:] < CROP_PX)).all(axis=1)].astype(int)
    assert len(at) > 500
    assert np.mean([changed[b, max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3].max() > 0.03 for b, x, y in at]) > 0.8


def test_workers_make_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "ENOUGH", {"scenes": 8, "canvases": 2, "textures": 1})
    drawn = batches.DrawnBatches(V2, (), 1, 0, 0, 1, torch.device("cpu"))
    try:
        first, second = drawn.take(4, 64, 2, AugmentSpec())
    finally:
        drawn.close()
    assert first.keys() == set(Sample.__dataclass_fields__) and first["image"].shape == (4, 3, 64, 64)
    assert {value.dtype for value in first.values()} == {torch.float32}
    assert not torch.equal(first["image"], second["image"])


@pytest.mark.parametrize("quality", [20, 60, 95])
def test_jpeg_is_like_jpeg(quality: int) -> None:
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(rng.integers(0, 256, (64, 64, 3)).astype(np.uint8), (0, 0), 2.0)
    picture = cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    real = cv2.imdecode(cv2.imencode(".jpg", picture[..., ::-1], options)[1], cv2.IMREAD_COLOR)[..., ::-1]
    tensor = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None]
    ours = jpeg_like(tensor, torch.tensor([quality]))[0].permute(1, 2, 0).numpy()
    lost, real_lost = np.abs(ours - picture).mean(), np.abs(real.astype(float) - picture).mean()
    assert 0.3 < lost / real_lost < 1.6
