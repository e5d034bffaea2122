"""Atomic writing: all or nothing, and nothing left behind."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

import pytest

from runtime.errors import UserError
from runtime.files import atomic_path, read_regular, write_bytes_atomic, write_text_atomic


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text_atomic(path, "one\n")
    write_text_atomic(str(path), "zwei ä\n")
    assert path.read_bytes() == "zwei ä\n".encode()
    assert list(tmp_path.iterdir()) == [path]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("failure", [RuntimeError("broken"), OSError(errno.ENOSPC, "broken")], ids=repr)
def test_a_failed_block_keeps_the_old_file(tmp_path: Path, failure: Exception) -> None:
    path = tmp_path / "a.bin"
    write_bytes_atomic(path, b"old")
    expected = UserError if isinstance(failure, OSError) else RuntimeError
    with pytest.raises(expected, match="broken") as error, atomic_path(path) as temporary:
        temporary.write_bytes(b"half")
        raise failure
    assert "\n" not in str(error.value)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_someone_elses_error_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a") as temporary:
        temporary.write_bytes((tmp_path / "input that is not there").read_bytes())
    assert not list(tmp_path.iterdir())


def test_impossible_targets(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path, reason in (
        (tmp_path, "is a folder"),
        (Path("/dev/full"), "not a regular file"),
        (file / "below", "a part of the path is a file"),
        (tmp_path / "none" / "a", "create its folder"),
        (tmp_path / ("a" * 300), "shorter name"),
        (tmp_path / "a\0b", "no path"),
    ):
        with pytest.raises(UserError, match=reason):
            write_bytes_atomic(path, b"x")
    assert list(tmp_path.iterdir()) == [file]
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


@pytest.mark.parametrize(("number", "fails"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_disk_that_does_not_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, fails: bool) -> None:
    """Some file systems cannot; where one fails at it, nothing is replaced."""

    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    path = tmp_path / "a"
    with pytest.raises(UserError) if fails else contextlib.nullcontext():
        write_bytes_atomic(path, b"new")
    assert path.exists() != fails and len(list(tmp_path.iterdir())) == (0 if fails else 1)


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_bytes_atomic(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_what_cannot_be_read(tmp_path: Path) -> None:
    empty, large, fifo = tmp_path / "empty", tmp_path / "large", tmp_path / "fifo"
    empty.touch()
    with large.open("wb") as file:
        file.truncate(2**30)
    os.mkfifo(fifo)
    for path, reason in (
        (empty, "is empty"),
        (large, "1024 MiB"),
        (tmp_path, "is a folder"),
        (tmp_path / "none", "No such file"),
        (fifo, "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
        (empty / "below", "check the path"),
        (Path("a\0b"), "no path"),
    ):
        with pytest.raises(UserError, match=reason) as error:
            read_regular(path, "a thing", 1000)
        assert "\n" not in str(error.value)
