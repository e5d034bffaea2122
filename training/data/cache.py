"""Where generated and downloaded data live between runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from runtime.errors import UserError
from runtime.files import write_error

CACHE_VARIABLE = "ER_EDGE_CACHE"
_ADVICE = f"set {CACHE_VARIABLE} to a folder that you may write to"


def cache_dir() -> Path:
    """The project's cache folder, not created here: $ER_EDGE_CACHE, else er-edge in $XDG_CACHE_HOME or ~/.cache."""
    chosen = os.environ.get(CACHE_VARIABLE) or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "er-edge"
    try:
        return Path(chosen).expanduser().absolute()
    except RuntimeError:  # neither HOME nor an entry in the list of users, as in containers
        raise UserError(f"this user has no home folder for the cache: {_ADVICE}") from None


def cache_error(path: Path, error: OSError) -> UserError:
    """One line on why `path` could not be written: where it is in the cache, with what moves that."""
    with contextlib.suppress(UserError):  # no cache, so this is none of it
        if path.is_relative_to(cache_dir()):
            return UserError(f"cannot write to the cache, {path}: {error.strerror or error}; {_ADVICE}")
    return write_error(path, error)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold a lock file, waiting for it; False where there can be none (no locks, no folder), and the block runs on."""
    lock = FileLock(path)
    with contextlib.suppress(OSError, NotImplementedError):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield lock.is_locked
    finally:
        lock.release()
