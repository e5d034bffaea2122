from __future__ import annotations

import pytest

from runtime.errors import UserError
from training.data.synthhands import schedule


def test_splits_never_share_a_capture() -> None:
    captures = [number for split in schedule.SPLIT_CAPTURES.values() for number in (split.start, split.stop - 1)]
    assert captures == sorted(set(captures))


def test_shards_cover_a_split_without_overlap() -> None:
    shards = schedule.shards_for("val", 3 * schedule.CAPTURE_FRAMES * schedule.FRAME_VIEWS)
    frames = [(shard.capture, frame) for shard in shards for frame in shard.frames]
    first = schedule.SPLIT_CAPTURES["val"].start
    assert frames == [(first + c, f) for c in range(3) for f in range(schedule.CAPTURE_FRAMES)]
    assert [shard.first_image for shard in shards] == [i * schedule.SHARD_IMAGES for i in range(len(shards))]


@pytest.mark.parametrize(("split", "n_images"), [("dev", 8), ("train", 0), ("val", 10**9)])
def test_impossible_requests(split: str, n_images: int) -> None:
    with pytest.raises(UserError):
        schedule.shards_for(split, n_images)
