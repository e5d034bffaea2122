"""JSON files from outside: whole, or list by list where a file is too large to hold in memory as objects."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from runtime.errors import UserError

MAX_WHOLE_BYTES = 2 << 30
MAX_STREAMED_BYTES = 32 << 30
_CHUNK = 1 << 22  # characters
_MAX_ITEM = 1 << 24  # characters of one list item, or of one value that is skipped
_BLANKS = " \t\r\n"
_AFTER = {*_BLANKS, *":,]}"}  # what may follow a value


def read_json(path: Path) -> dict[str, Any]:
    """The object that a file holds. Raises UserError where it is missing, too large, or not one."""
    with _user_errors(path, MAX_WHOLE_BYTES):
        content = json.loads(path.read_bytes())
    if not isinstance(content, dict):
        raise UserError(f"{path} does not hold a JSON object")
    return content


def stream_items(path: Path, lists: Collection[str]) -> Iterator[tuple[str, Any]]:
    """(key, item) of every item of the named lists of a file's object, in its order; other keys are skipped.

    A file that is a list itself is one with the key "". Memory stays at a few items. Raises UserError like read_json,
    but where the damage is met: what came before has been given.
    """
    with (
        _user_errors(path, MAX_STREAMED_BYTES) as size,
        path.open(encoding="utf-8") as file,
        tqdm(total=size, desc=f"reading {path.name}", unit="B", unit_scale=True, leave=False, delay=1) as bar,
    ):
        yield from _items(_Text(file, bar), lists)


@contextmanager
def _user_errors(path: Path, max_bytes: int) -> Iterator[int]:
    """What goes wrong with reading a file as one line; gives its size."""
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise UserError(f"{path} is larger than {max_bytes >> 30} GiB: it is no annotation file")
        yield size
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error


class _Text:
    """A window on a text file, with a place in it."""

    def __init__(self, file: TextIO, bar: Any) -> None:
        self.file, self.bar = file, bar
        self.text, self.place, self.ended = "", 0, False
        self.decode = json.JSONDecoder().raw_decode

    def grow(self) -> None:
        chunk = self.file.read(_CHUNK)
        self.text, self.place = self.text[self.place :] + chunk, 0
        self.ended = not chunk
        self.bar.update(len(chunk))

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            while self.place < len(self.text):
                if self.text[self.place] not in _BLANKS:
                    return self.text[self.place]
                self.place += 1
            if self.ended:
                return ""
            self.grow()

    def take(self, expected: str) -> str:
        """The next character, which must be one of the expected."""
        if (found := self.peek()) not in expected or not found:
            raise ValueError(f"{found!r} where one of {expected!r} belongs")
        self.place += 1
        return found

    def value(self) -> Any:
        """The next value, whatever it is."""
        self.peek()
        while True:
            try:
                value, end = self.decode(self.text, self.place)
                if self.text[end : end + 1] in _AFTER or self._is_all():  # else a number may go on in the next chunk
                    self.place = end
                    return value
            except ValueError:
                if self._is_all():
                    raise
            self.grow()

    def _is_all(self) -> bool:
        return self.ended or len(self.text) - self.place > _MAX_ITEM


def _items(text: _Text, lists: Collection[str]) -> Iterator[tuple[str, Any]]:
    yield from _list_items(text, "") if "" in lists else _object_items(text, lists)
    if text.peek():
        raise ValueError("something follows the end")


def _object_items(text: _Text, lists: Collection[str]) -> Iterator[tuple[str, Any]]:
    text.take("{")
    if text.peek() == "}":
        text.take("}")
        return
    while True:
        if not isinstance(key := text.value(), str):
            raise ValueError(f"the key {str(key)[:60]} is no string")
        text.take(":")
        if key in lists:
            yield from _list_items(text, key)
        else:
            text.value()
        if text.take(",}") == "}":
            return


def _list_items(text: _Text, key: str) -> Iterator[tuple[str, Any]]:
    text.take("[")
    if text.peek() == "]":
        text.take("]")
        return
    while True:
        yield key, text.value()
        if text.take(",]") == "]":
            return
