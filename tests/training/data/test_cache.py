from __future__ import annotations

import sys
from pathlib import Path

import pytest

from training.data.cache import cache_dir


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
