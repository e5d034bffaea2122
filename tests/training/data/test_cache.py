from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from runtime.errors import UserError
from training.data.cache import cache_dir, cache_error, locked


def test_relative_variable_becomes_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ER_EDGE_CACHE", "some/folder")
    assert cache_dir() == Path.cwd() / "some" / "folder"


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/er-edge"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/someone/.cache/er-edge"),
        ("linux", {}, "/home/someone/.cache/er-edge"),
        ("darwin", {}, "/home/someone/Library/Caches/er-edge"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/er-edge"),
        ("win32", {}, "/home/someone/AppData/Local/er-edge"),
    ],
)
def test_platforms(monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], expected: str) -> None:
    for name in ("ER_EDGE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/someone"))
    assert cache_dir() == Path(expected)


@pytest.mark.parametrize("chosen", ["", "~nobody-of-that-name/cache"])
def test_nobody_without_a_home(monkeypatch: pytest.MonkeyPatch, chosen: str) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ER_EDGE_CACHE", chosen)
    monkeypatch.setattr(Path, "home", no_home)
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
