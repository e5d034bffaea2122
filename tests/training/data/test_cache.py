from __future__ import annotations

import errno
from pathlib import Path

import pytest
from filelock import FileLock

from runtime.errors import UserError
from training.data.cache import cache_dir, cache_error, locked


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    places = (("a/b", "", Path.cwd() / "a/b"), ("", "/xdg", "/xdg/er-edge"), ("", "", "/home/someone/.cache/er-edge"))
    for chosen, xdg, expected in places:
        monkeypatch.setenv("ER_EDGE_CACHE", chosen)
        monkeypatch.setenv("XDG_CACHE_HOME", xdg)
        assert cache_dir() == Path(expected)


@pytest.mark.parametrize("chosen", ["", "~nobody-of-that-name/cache"])
def test_nobody_without_a_home(monkeypatch: pytest.MonkeyPatch, chosen: str) -> None:
    def no_home(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("ER_EDGE_CACHE", chosen)
    monkeypatch.setattr(Path, "expanduser", no_home)
    with pytest.raises(UserError, match="set ER_EDGE_CACHE"):
        cache_dir()


def test_what_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ER_EDGE_CACHE", str(tmp_path / "cache"))
    error = OSError(errno.EROFS, "Read-only file system")
    assert "cache/set: Read-only file system; set ER_EDGE_CACHE" in str(cache_error(tmp_path / "cache" / "set", error))
    assert "ER_EDGE_CACHE" not in str(cache_error(tmp_path / "mine", error))


@pytest.mark.parametrize("code", [None, errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_lock_is_best_effort(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int | None) -> None:
    """A file system may have none."""

    def refuse(_: FileLock) -> None:
        raise OSError(code, "no locks")

    if code is not None:
        monkeypatch.setattr(FileLock, "acquire", refuse)
    with locked(tmp_path / "lock") as alone:
        assert alone == (code is None)
