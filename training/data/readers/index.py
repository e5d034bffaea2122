"""Arrays made from annotation files once, then mapped from the project's cache in no time.

An index is a folder of .npy files, `index/<key>` of the cache; the key is a hash of the annotation files' content and
of whatever else the arrays depend on. Hashing takes seconds per gigabyte, so a file's hash is remembered by its path,
size and time of modification: a file changed with both of the latter restored is not noticed. All may be deleted, and
where nothing can be written the arrays are made again each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UserError
from runtime.files import file_sha256, write_text_atomic
from training.data.cache import cache_dir
from training.data.frames import map_array

INDEX_VERSION = 1  # of the arrays' meaning: raised whenever a reader changes what it makes of the same files

Arrays = Mapping[str, NDArray[Any]]


def open_index(sources: Sequence[Path], depends_on: str, build: Callable[[], Arrays]) -> dict[str, NDArray[Any]]:
    """The arrays of `build()`, read-only; mapped where these sources were indexed before.

    Raises UserError for a source that cannot be read.
    """
    root = cache_dir() / "index"
    parts = [str(INDEX_VERSION), depends_on, *_digests(sources, root / "hashes.json")]
    folder = root / hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    with contextlib.suppress(OSError, ValueError, EOFError):  # not there, or damaged
        return _map(folder)
    arrays = dict(build())
    try:
        _save(folder, arrays)
        return _map(folder)
    except OSError:
        for array in arrays.values():
            array.flags.writeable = False
        return arrays


def _map(folder: Path) -> dict[str, NDArray[Any]]:
    names = json.loads((folder / "names.json").read_text(encoding="utf-8"))
    return {name: map_array(folder / f"{name}.npy") for name in names}


def _save(folder: Path, arrays: Arrays) -> None:
    """Write to a folder of a temporary name, then rename it, over a damaged one if need be."""
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    part.mkdir(parents=True)
    try:
        for name, array in arrays.items():
            np.save(part / f"{name}.npy", array, allow_pickle=False)
        (part / "names.json").write_text(json.dumps(list(arrays)), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _digests(sources: Sequence[Path], memory: Path) -> list[str]:
    """sha256 of every file, from memory where path, size and time of modification are the remembered ones."""
    known: dict[str, list[Any]] = {}
    with contextlib.suppress(OSError, ValueError):
        known = dict(json.loads(memory.read_text(encoding="utf-8")))
    found = {}
    for path in sources:
        try:
            state = path.stat()
            entry = known.get(os.fspath(path.resolve()))
            if not entry or entry[:2] != [state.st_size, state.st_mtime_ns]:
                entry = [state.st_size, state.st_mtime_ns, file_sha256(path)]
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        found[os.fspath(path.resolve())] = entry
    if any(known.get(path) != entry for path, entry in found.items()):
        with contextlib.suppress(OSError, UserError):
            memory.parent.mkdir(parents=True, exist_ok=True)
            write_text_atomic(memory, json.dumps(known | found, indent=0))
    return [entry[2] for entry in found.values()]
