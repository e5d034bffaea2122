"""Annotation files: JSON from outside, read within bounds, whole or item by item; and the arrays made of it once.

An index is a folder of .npy files, `index/<key>` of the cache; the key is a hash of the source files' paths, sizes and
times of modification (their content would take seconds per gigabyte), and of whatever else the arrays depend on. All
may be deleted, and where nothing can be written the arrays are made again each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import ijson
import numpy as np
from tqdm import tqdm

from runtime.errors import UserError, first_line
from runtime.files import check_regular, read_regular
from training.data.cache import cache_dir
from training.data.frames import map_array

MAX_WHOLE_BYTES = 2 << 30
MAX_STREAMED_BYTES = 32 << 30
_BLOCK_BYTES = 1 << 18
_MAX_DEPTH = 100
_LIST_DEPTH = 2  # of a list in the file's object: an item that ends leads back to it
_MAX_ITEM_BYTES = 1 << 24
INDEX_VERSION = 6  # of the arrays' meaning: raised whenever a reader changes what it makes of the same files

Arrays = dict[str, Any]  # by name


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
    size = path.stat().st_size
    with (
        _user_errors(path),
        path.open("rb") as file,
        tqdm(total=size, desc=f"reading {path.name}", unit="B", unit_scale=True, leave=False, delay=1) as bar,
    ):
        yield from ijson.items(_Watched(file, bar), f"{key}.item", use_float=True, buf_size=_BLOCK_BYTES)


@contextlib.contextmanager
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


def open_index(sources: Sequence[Path], depends_on: str, build: Callable[[], Arrays], what: str) -> Arrays:
    """The arrays of `build()`, read-only; mapped where these sources were indexed before.

    Raises UserError for a source that cannot be read, and where `build` meets what it does not expect: `what` is not.
    """
    key = hashlib.sha256(f"{INDEX_VERSION}\n{depends_on}\n".encode())
    for path in sources:
        try:
            state = path.stat()
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        key.update(f"{path.resolve()!r} {state.st_size} {state.st_mtime_ns}\n".encode())
    folder = cache_dir() / "index" / key.hexdigest()[:32]
    with contextlib.suppress(OSError, ValueError, EOFError):  # not there, or damaged
        return _map(folder)
    with format_errors(what):
        arrays = build()
    try:
        _save(folder, arrays)
        return _map(folder)
    except OSError:
        for array in arrays.values():
            array.flags.writeable = False
        return arrays


@contextlib.contextmanager
def format_errors(what: str) -> Iterator[None]:
    """Content of a file that is not as expected becomes a UserError: `what` (the reason)."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError) as error:
        raise UserError(f"{what} ({error!r})") from error


def say(message: str) -> None:
    """Tell people what a reader leaves out, above progress bars and apart from what a command prints."""
    tqdm.write(message, file=sys.stderr)


def _map(folder: Path) -> Arrays:
    names = json.loads((folder / "names.json").read_text(encoding="utf-8"))
    return {name: map_array(folder / f"{name}.npy") for name in names}


def _save(folder: Path, arrays: Arrays) -> None:
    """Write to a folder of a temporary name, then rename it, over a damaged one if need be."""
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    try:
        part.mkdir(parents=True)
        for name, array in arrays.items():
            np.save(part / f"{name}.npy", array, allow_pickle=False)
        (part / "names.json").write_text(json.dumps(list(arrays)), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
