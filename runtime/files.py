"""Files: reading what may be anything, and writing so that a failed run leaves neither half a file nor a lost one."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from .errors import UserError

_PIECE_BYTES = 2**20
_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space or write elsewhere"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "write to a folder you may write to"),
    errno.ENOENT: "create its folder first",
    errno.ENOTDIR: "a part of the path is a file; give another path",
    errno.ENAMETOOLONG: "give a shorter name",
}


def check_regular(path: Path, what: str, most_bytes: int) -> None:
    """Raise a UserError unless the path is a regular file that can be `what` ("a model") by its size."""
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path to {what}") from None
    except ValueError:  # a zero byte in the name
        raise UserError(f"cannot read {str(path)!r}: this is no path") from None
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        is_folder = stat.S_ISDIR(status.st_mode)
        fault = "a folder" if is_folder else "empty" if stat.S_ISREG(status.st_mode) else "not a regular file"
        raise UserError(f"{path} is {fault}: give {what}")
    if status.st_size > most_bytes:
        raise UserError(f"{path} has {status.st_size >> 20} MiB, {what} at most {most_bytes >> 20}: check the path")


def read_regular(path: Path, what: str, most_bytes: int) -> bytes:
    """Read such a file."""
    check_regular(path, what, most_bytes)
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path to {what}") from None


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], suffix: str = ".part") -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the place of `path` when the block ends well.

    The temporary file is there and empty, `.NAME.RANDOM` with `suffix` for writers that go by it, and gone when the
    block fails. A symbolic link stays one. The system's errors about either path, or about none, become a UserError.
    """
    target = _checked_target(path)
    temporary = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}{suffix}")
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        try:
            yield temporary
            with temporary.open("rb+") as file:
                _sync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        if error.filename is not None and Path(os.fsdecode(error.filename)) not in (temporary, target):
            raise
        raise write_error(path, error) from error


def _sync(descriptor: int) -> None:
    """Bring a file to the disk, where its file system knows of that: some of virtual machines and networks do not."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise


def _checked_target(path: str | os.PathLike[str]) -> Path:
    """What a symbolic link points at; only regular files are ever replaced."""
    try:
        target = Path(os.path.realpath(path))
        kind = target.stat().st_mode
    except FileNotFoundError:
        return target
    except OSError as error:
        raise write_error(path, error) from error
    except ValueError:  # a zero byte in the name
        raise UserError(f"cannot write {os.fspath(path)!r}: this is no path") from None
    if not stat.S_ISREG(kind):
        what = "a folder" if stat.S_ISDIR(kind) else "not a regular file"
        raise UserError(f"cannot write {path}: it is {what}; give another path")
    return target


def make_folder(folder: Path) -> None:
    """Make a folder to write to, and those above it, where they are missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from None


def write_error(path: str | os.PathLike[str], error: OSError) -> UserError:
    """One line on why `path` could not be written and what to do."""
    advice = _ADVICE.get(error.errno or 0, "check the path and the disk")
    return UserError(f"cannot write {path}: {error.strerror or error}; {advice}")


def utf8_path(path: str | os.PathLike[str]) -> str:
    """A path as libraries of C++ take it, UTF-8 in any locale. A UserError for other bytes: OpenCV crashes at them."""
    try:
        return os.fsencode(path).decode()
    except UnicodeError:
        raise UserError(f"{os.fspath(path)!a} is no text (UTF-8): rename it") from None


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes as hex, read in pieces."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def write_bytes_atomic(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace or create `path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text_atomic(path: str | os.PathLike[str], text: str) -> None:
    """Replace or create `path` as UTF-8, line ends as they are."""
    write_bytes_atomic(path, text.encode())
