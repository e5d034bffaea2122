"""Where generated and downloaded data live between runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

CACHE_VARIABLE = "ER_EDGE_CACHE"


def cache_dir() -> Path:
    """The project's cache folder, not created here: $ER_EDGE_CACHE, else "er-edge" in the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    return _user_cache_dir() / "er-edge"


def _user_cache_dir() -> Path:
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local) if local else Path.home() / "AppData" / "Local"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    xdg = os.environ.get("XDG_CACHE_HOME")
    # The XDG specification says that relative paths are to be ignored.
    return Path(xdg) if xdg and Path(xdg).is_absolute() else Path.home() / ".cache"
