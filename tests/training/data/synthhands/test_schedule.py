from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest

from runtime.errors import UserError
from training.data.synthhands import schedule


def test_splits_never_share_a_capture() -> None:
    for first, second in combinations(schedule.SPLIT_CAPTURES.values(), 2):
        assert max(first.start, second.start) >= min(first.stop, second.stop)


def test_every_capture_has_its_own_random_streams() -> None:
    captures = [captures[position] for captures in schedule.SPLIT_CAPTURES.values() for position in (0, 1, -1)]
    keys = [
        (stream, capture, frame, view, attempt)
        for stream in schedule.Stream
        for capture in captures
        for frame in (0, 1)
        for view in (0, 1)
        for attempt in (0, 1)
    ]
    drawn = {tuple(schedule.random_stream(*key).integers(0, 2**62, 2)) for key in keys}
    assert len(drawn) == len(keys)


def test_two_thirds_interact_and_sides_are_even() -> None:
    counts = Counter(schedule.hand_type(frame) for frame in range(schedule.CAPTURE_FRAMES))
    assert counts[schedule.RIGHT] == counts[schedule.LEFT] == schedule.CAPTURE_FRAMES // 6
    assert counts[schedule.INTERACTING] == schedule.CAPTURE_FRAMES * 2 // 3


def test_shards_cover_a_split_without_overlap() -> None:
    shards = schedule.shards_for("val", 3 * schedule.CAPTURE_FRAMES * schedule.FRAME_VIEWS)
    frames = [(shard.capture, frame) for shard in shards for frame in shard.frames]
    first = schedule.SPLIT_CAPTURES["val"].start
    assert frames == [(first + c, f) for c in range(3) for f in range(schedule.CAPTURE_FRAMES)]
    assert [shard.first_image for shard in shards] == [i * schedule.SHARD_IMAGES for i in range(len(shards))]


@pytest.mark.parametrize(("n_images", "shards"), [(1, 1), (schedule.SHARD_IMAGES, 1), (schedule.SHARD_IMAGES + 1, 2)])
def test_just_enough_shards(n_images: int, shards: int) -> None:
    assert len(schedule.shards_for("train", n_images)) == shards


@pytest.mark.parametrize(("split", "n_images"), [("dev", 8), ("train", 0), ("train", -1), ("val", 10**9)])
def test_impossible_requests(split: str, n_images: int) -> None:
    with pytest.raises(UserError):
        schedule.shards_for(split, n_images)
