"""JSON files from outside: whole, or item by item where a file is too large to hold in memory as objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import ijson
import numpy as np
from tqdm import tqdm

from runtime.errors import UserError, first_line
from runtime.files import check_regular, read_regular

MAX_WHOLE_BYTES = 2 << 30
MAX_STREAMED_BYTES = 32 << 30
_BLOCK_BYTES = 1 << 18
_MAX_DEPTH = 100
_LIST_DEPTH = 2  # of a list in the file's object: an item that ends leads back to it
_MAX_ITEM_BYTES = 1 << 24


def read_json(path: Path, kind: type = dict) -> Any:
    """The object, or list, that a file holds. Raises UserError where it is missing, too large, or not one."""
    with _user_errors(path):
        content = json.loads(read_regular(path, "an annotation file", MAX_WHOLE_BYTES))
    if not isinstance(content, kind):
        raise UserError(f"{path} does not hold a JSON {'object' if kind is dict else 'list'}")
    return content


def stream_items(path: Path, key: str) -> Iterator[Any]:
    """The items of one list of a file's object, in its order.

    Memory stays at a few items. Raises UserError like read_json, but where the damage is met: what came before has been
    given. A file without such a list has no items.
    """
    check_regular(path, "an annotation file", MAX_STREAMED_BYTES)
    with (
        _user_errors(path),
        path.open("rb") as file,
        tqdm(
            total=path.stat().st_size, desc=f"reading {path.name}", unit="B", unit_scale=True, leave=False, delay=1
        ) as bar,
    ):
        yield from ijson.items(_Watched(file, bar), f"{key}.item", use_float=True, buf_size=_BLOCK_BYTES)


@contextmanager
def _user_errors(path: Path) -> Iterator[None]:
    """What goes wrong with reading a file as one line."""
    try:
        yield
    except (ValueError, RecursionError, ijson.JSONError) as error:
        raise UserError(f"{path} is not valid JSON: {first_line(error)}") from error


class _Watched:
    """A file as ijson reads it, refused where that would take memory without end.

    Memory grows with an item's size and the square of its nesting. Brackets within strings
    are counted, too: annotation files have none to speak of.
    """

    def __init__(self, file: BinaryIO, bar: Any) -> None:
        self.file, self.bar = file, bar
        self.depth = self.unended = 0

    def read(self, size: int) -> bytes:
        """The next bytes; a ValueError where they nest too deep or an item is too large."""
        block = self.file.read(size)
        self.bar.update(len(block))
        if not block:
            return block
        letters = np.frombuffer(block, np.uint8) & 0xDF  # { and [ become one, as do } and ]
        opened, closed = letters == ord("["), letters == ord("]")
        depth = self.depth + np.cumsum(opened.view(np.int8) - closed.view(np.int8), dtype=np.int32)
        self.depth = int(depth[-1])
        self.unended = 0 if (depth[closed] <= _LIST_DEPTH).any() else self.unended + len(block)
        if depth.max() > _MAX_DEPTH or self.unended > _MAX_ITEM_BYTES:
            raise ValueError("it nests too deep, or an item of a list is too large")
        return block
