"""A bounded way from one thread to another."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

_TICK_S = 0.2  # Windows lets no Ctrl-C through to a lock that waits without end


class Channel(Generic[Item]):
    """One thread puts, another iterates. Full, it makes the giver wait, or drops the oldest item (`keep_latest`).

    The taker gets a TimeoutError where no item comes for `patience_s`.
    """

    def __init__(self, capacity: int, *, keep_latest: bool = False, patience_s: float = math.inf) -> None:
        self._items: deque[Item] = deque()
        self._capacity = capacity
        self._keep_latest = keep_latest
        self._patience_s = patience_s
        self._changed = threading.Condition()
        self._finished = self._abandoned = False
        self._error: BaseException | None = None
        self.dropped = 0

    def put(self, item: Item) -> bool:
        """Hand an item over; False where nobody takes them any more."""
        with self._changed:
            while len(self._items) >= self._capacity and not self._abandoned:
                if self._keep_latest:
                    self._items.popleft()
                    self.dropped += 1
                else:
                    self._changed.wait(_TICK_S)
            if self._abandoned:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def finish(self, error: BaseException | None = None) -> None:
        """No more items come; the taker gets those that are there, then `error`."""
        with self._changed:
            self._finished, self._error = True, error
            self._changed.notify_all()

    def abandon(self) -> None:
        """The taker wants no more: the giver learns it from `put`."""
        with self._changed:
            self._abandoned = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._changed:
                end_s = time.monotonic() + self._patience_s
                while not self._items and not self._finished:
                    self._changed.wait(_TICK_S)
                    if time.monotonic() > end_s:
                        raise TimeoutError
                if not self._items:
                    break
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
        if self._error is not None:
            raise self._error
