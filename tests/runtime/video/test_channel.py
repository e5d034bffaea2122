"""The way from thread to thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from runtime.video.channel import Channel


def started(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_everything_arrives_in_its_order_and_a_full_channel_makes_the_giver_wait() -> None:
    channel: Channel[int] = Channel(2)
    given = []

    def give() -> None:
        for number in range(100):
            assert channel.put(number)
            given.append(number)
        channel.finish()

    giver = started(give)
    time.sleep(0.1)
    assert given == [0, 1]
    assert list(channel) == list(range(100))
    giver.join(5)
    assert channel.dropped == 0


def test_the_latest_is_kept() -> None:
    channel: Channel[int] = Channel(1, keep_latest=True)
    for number in range(10):
        assert channel.put(number)
    channel.finish()
    assert list(channel) == [9]
    assert channel.dropped == 9


def test_an_error_comes_after_what_was_given() -> None:
    channel: Channel[int] = Channel(3)
    channel.put(1)
    channel.finish(RuntimeError("broken"))
    taken = iter(channel)
    assert next(taken) == 1
    with pytest.raises(RuntimeError, match="broken"):
        next(taken)


def test_a_waiting_giver_learns_that_nobody_takes() -> None:
    channel: Channel[int] = Channel(1)
    channel.put(0)
    answers: list[bool] = []
    giver = started(lambda: answers.append(channel.put(1)))
    channel.abandon()
    giver.join(5)
    assert answers == [False]
