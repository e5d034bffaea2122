"""The way from thread to thread."""

from __future__ import annotations

import threading
import time

import pytest

from runtime.video.channel import Channel


def test_everything_arrives_in_its_order_and_a_full_channel_makes_the_giver_wait() -> None:
    channel: Channel[int] = Channel(2)
    given = []

    def give() -> None:
        for number in range(100):
            assert channel.put(number)
            given.append(number)
        channel.finish()

    giver = threading.Thread(target=give)
    giver.start()
    time.sleep(0.1)
    assert given == [0, 1]
    assert list(channel) == list(range(100))
    giver.join(5)


def test_the_latest_is_kept_and_an_error_comes_after_it() -> None:
    channel: Channel[int] = Channel(1, keep_latest=True)
    for number in range(10):
        assert channel.put(number)
    channel.finish(RuntimeError("broken"))
    taken = iter(channel)
    assert (next(taken), channel.dropped) == (9, 9)
    with pytest.raises(RuntimeError, match="broken"):
        next(taken)


def test_a_waiting_giver_learns_that_nobody_takes() -> None:
    channel: Channel[int] = Channel(1)
    channel.put(0)
    threading.Timer(0.1, channel.abandon).start()
    assert not channel.put(1)
