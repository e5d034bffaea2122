"""Arrays made from annotation files once, then mapped from the project's cache in no time.

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
from typing import Any

import numpy as np
from tqdm import tqdm

from runtime.errors import UserError
from training.data.cache import cache_dir
from training.data.frames import map_array

INDEX_VERSION = 4  # of the arrays' meaning: raised whenever a reader changes what it makes of the same files

Arrays = dict[str, Any]  # by name


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
