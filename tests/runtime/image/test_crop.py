"""The crop: coordinates and pixels agree, at any scale."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from runtime.errors import UserError
from runtime.image.crop import Crop, box_meets_image, crop_from_box
from runtime.image.reading import MAX_KEPT_BYTES, Scratch

NOISE = np.random.default_rng(3).integers(0, 256, (700, 700, 3), np.uint8)
SCRATCH = Scratch()


def draw_dot(shape: tuple[int, int], center: np.ndarray, sigma: float) -> np.ndarray:
    """A white bell of width sigma on black, `center` in continuous coordinates."""
    rows, columns = np.arange(shape[0]) + 0.5, np.arange(shape[1]) + 0.5
    bell = np.exp(-((rows[:, None] - center[1]) ** 2 + (columns - center[0]) ** 2) / (2 * sigma**2))
    return np.repeat((255 * bell).round().astype(np.uint8)[:, :, None], 3, axis=2)


def centroid(image: np.ndarray) -> np.ndarray:
    weight = image[..., 0].astype(np.float64)
    rows, columns = np.arange(weight.shape[0]) + 0.5, np.arange(weight.shape[1]) + 0.5
    return np.array([(weight @ columns).sum(), (weight.T @ rows).sum()]) / weight.sum()


@pytest.mark.parametrize("shrink", [1.9, 2.0, 2.01, 3.0, 3.99, 4.0, 7.3])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.37, 0.81), (13.5, -9.25)])
def test_dots_at_every_factor(shrink: float, offset: tuple[float, float]) -> None:
    crop = Crop(np.array([301.0, 299.0]) + offset, shrink * 64, 64)
    for fraction in (0.2, 0.5, 0.83):
        position = (np.array([64 * fraction, 64 * (1 - fraction)]) - 32) * shrink + crop.center_px
        image = draw_dot((640, 600), position, sigma=1.5 * shrink)
        assert_allclose(centroid(crop.apply(image)), crop.to_crop(position), atol=0.05)


def test_memory_is_each_threads_own_and_used_again() -> None:
    first = SCRATCH.array("a", (4, 5), np.float32)
    assert first.shape == (4, 5) and first.dtype == np.float32 and first.flags.c_contiguous and first.flags.writeable
    assert np.shares_memory(first, SCRATCH.array("a", (2, 3), np.uint8))
    assert not np.shares_memory(first, SCRATCH.array("b", (4, 5), np.float32))
    with ThreadPoolExecutor(1) as pool:
        assert not np.shares_memory(first, pool.submit(SCRATCH.array, "a", (4, 5), np.float32).result())
    huge = (MAX_KEPT_BYTES + 1,)
    assert not np.shares_memory(SCRATCH.array("a", huge, np.uint8), SCRATCH.array("a", huge, np.uint8))


@pytest.mark.parametrize("size_px", [40.0, 180.5, 900.0])
def test_planes_with_used_memory_are_the_crops_pixels(size_px: float) -> None:
    for shape, center in (((700, 700), (320.3, 190.7)), ((60, 500), (20.0, 40.0)), ((60, 500), (-5000.0, 40.0))):
        image, crop = NOISE[: shape[0], : shape[1]], Crop(np.array(center), size_px, 128)
        planes = crop.planes(image, SCRATCH)
        assert planes.shape == (3, 128, 128)
        assert_array_equal(planes.transpose(1, 2, 0), crop.apply(image))


@pytest.mark.parametrize("size_px", [40.0, 300.0])
def test_outside_the_image_is_black(size_px: float) -> None:
    image = np.full((100, 100, 3), 200, np.uint8)
    crop = Crop(np.array([0.0, 50.0]), size_px, 64)
    pixels = crop.apply(image)
    edge = int(crop.to_crop([0, 50])[0])
    assert not pixels[:, : edge - 1].any()
    assert_array_equal(pixels[30:34, edge + 2 : edge + 8], 200)
    assert not Crop(np.array([-5000.0, 50.0]), size_px, 64).apply(image).any()


@pytest.mark.parametrize("width", [100, 103, 407])
def test_the_edge_of_the_image_is_where_it_belongs(width: int) -> None:
    """Whatever is left of the width after whole blocks, nothing is added to it and nothing lost."""
    image = np.full((101, width, 3), 200, np.uint8)
    crop = Crop(np.array([width - 3.0, 50.0]), 320.0, 64)  # blocks of 5
    row = crop.apply(image)[32, :, 0].astype(np.float64)
    left = max(0.0, float(crop.to_crop([0, 0])[0]))
    assert row.sum() / 200 == pytest.approx(float(crop.to_crop([width, 0])[0]) - left, abs=0.15)


NO_BOXES = [[np.nan, 0, 10, 10], [0, np.inf, 10, 10], [0, 0, 0, 10], [100, 100, -50, -50], [0, 0, 1e9, 10]]
NO_BOXES += [[1e7, 0, 10, 10], [0, 0, 10], [[0, 0, 10, 10]], "box", None, [0, 0, "a", 1]]


@pytest.mark.parametrize("box", NO_BOXES)
def test_what_is_no_box(box: object) -> None:
    with pytest.raises(UserError) as error:
        crop_from_box(box, 224)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_boxes_may_reach_beyond_the_image_but_not_miss_it() -> None:
    assert box_meets_image([-50, -50, 60, 60], 100, 100)
    assert not box_meets_image([-50, -50, 50, 60], 100, 100)
    assert not box_meets_image([100, 0, 10, 10], 100, 100)
